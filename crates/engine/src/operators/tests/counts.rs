//! Count windows against the model: one partition, whose order is that of arrival.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::harness::{Job, Run, global_schema};
use super::model::{self, Group, Partition};
use crate::{Aggregate, CountWindowSpec, OperatorSpec};

fn job(size: u64, name: &str, aggregates: Vec<Aggregate>) -> Job {
    let keys = model::keys(&[name]);
    let input = model::input_schema();
    let global_schema = global_schema(&keys, DataType::Int64, &aggregates);
    let first_key = input.index_of(name).unwrap();
    let spec = CountWindowSpec { size, input_schema: input.clone(), keys, aggregates };
    let global = (OperatorSpec::CountWindow(spec), global_schema);
    Job { local: None, global, input, key_columns: 1, first_key }
}

fn expected<'a>(size: usize, name: &str, partition: &'a Partition) -> Group<'a> {
    let mut by_key = BTreeMap::<_, Vec<_>>::new();
    for judged in partition {
        by_key.entry(model::key_text(&judged.row, &[name])).or_default().push(&judged.row);
    }
    let mut groups = Group::new();
    for (key, rows) in by_key {
        for (index, rows) in rows.chunks_exact(size).enumerate() {
            let start = (index * size) as i64;
            groups.insert((key.clone(), start, start + size as i64), rows.to_vec());
        }
    }
    groups
}

#[track_caller]
fn check(size: usize, name: &str, aggregates: Vec<Aggregate>, rows: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let partitions = vec![model::random_partition(&mut random, rows, 10, 60)];
    let expected = model::evaluate(&expected(size, name, &partitions[0]), &aggregates);
    let job = job(size as u64, name, aggregates);
    for run in 0..3 {
        let mut harness = Run::new(&job, &partitions, 10, seed * 31 + run);
        harness.check_bound = false;
        let outcome = harness.finish(run > 0);
        let mut lines = model::lines_of(&outcome.output);
        lines.sort();
        assert_eq!(lines, expected, "size {size} by {name}, seed {seed}, run {run}");
        assert_eq!(outcome.late_rows, 0, "count windows know no lateness");
    }
}

#[test]
fn windows_of_rows_equal_the_batch_answer() {
    for (index, size) in [1, 2, 3, 7, 50, 400].into_iter().enumerate() {
        check(size, "key", model::aggregates(), 300, index as u64);
        check(size, "name", vec![model::count_star()], 300, 100 + index as u64);
    }
}

/// More fragments per window than may stay unmerged.
#[test]
fn large_windows_equal_the_batch_answer() {
    check(900, "name", vec![model::count_star()], 4000, 200);
}
