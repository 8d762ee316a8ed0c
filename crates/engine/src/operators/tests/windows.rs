//! Tumbling, hopping and cumulating windows against the model.

use std::collections::HashSet;

use super::harness::{Job, Run, global_schema, local_schema};
use super::model::{self, Group, Judged, Partition};
use crate::{Aggregate, OperatorSpec, WindowAggregateSpec, WindowKind, WindowStage};

fn job(kind: WindowKind, names: &[&str], aggregates: Vec<Aggregate>) -> Job {
    let keys = model::keys(names);
    let input = model::input_schema();
    let local_schema = local_schema(&keys, &["__pane"], &aggregates);
    let global_schema = global_schema(&keys, input.field(0).data_type().clone(), &aggregates);
    let spec = |stage| {
        OperatorSpec::WindowAggregate(WindowAggregateSpec {
            stage,
            kind,
            input_schema: input.clone(),
            time_column: 0,
            keys: keys.clone(),
            aggregates: aggregates.clone(),
        })
    };
    Job {
        local: Some((spec(WindowStage::Local), local_schema)),
        global: (spec(WindowStage::Global), global_schema),
        input: input.clone(),
        key_columns: names.len(),
        first_key: 0,
    }
}

/// All windows that hold `time`, straight from the definition.
fn windows_of(kind: WindowKind, time: i64) -> Vec<(i64, i64)> {
    let mut windows = HashSet::new();
    let (WindowKind::Tumble { size, .. } | WindowKind::Hop { size, .. } | WindowKind::Cumulate { size, .. }) = kind;
    let near = |slide: i64| (time - size) / slide - 2..=time / slide + 2;
    match kind {
        WindowKind::Tumble { offset, .. } => {
            windows.extend(near(size).map(|index| (offset + index * size, offset + (index + 1) * size)));
        }
        WindowKind::Hop { slide, offset, .. } => {
            windows.extend(near(slide).map(|index| (offset + index * slide, offset + index * slide + size)));
        }
        WindowKind::Cumulate { step, offset, .. } => {
            for start in near(size).map(|index| offset + index * size) {
                windows.extend((1..=size / step).map(|count| (start, start + count * step)));
            }
        }
    }
    windows.retain(|&(start, end)| (start..end).contains(&time));
    windows.into_iter().collect()
}

/// Groups of all rows by key and window, and the number of rows that were late for all their windows.
fn expected<'a>(kind: WindowKind, names: &[&str], partitions: &'a [Partition]) -> (Group<'a>, u64) {
    let (mut groups, mut late) = (Group::new(), 0);
    let mut windows = std::collections::HashMap::new();
    for Judged { row, watermark } in partitions.iter().flatten() {
        let all: &Vec<_> = windows.entry(row.time).or_insert_with(|| windows_of(kind, row.time));
        let open: Vec<_> = all.iter().filter(|window| window.1 > *watermark).collect();
        late += u64::from(!all.is_empty() && open.is_empty());
        for &&(start, end) in &open {
            groups.entry((model::key_text(row, names), start, end)).or_default().push(row);
        }
    }
    (groups, late)
}

#[track_caller]
fn check(kind: WindowKind, names: &[&str], aggregates: Vec<Aggregate>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let delay = random.i64(0..30);
    let count = random.usize(1..4);
    let partitions: Vec<_> = (0..count).map(|_| model::random_partition(&mut random, 120, delay, 60)).collect();
    let (groups, late) = expected(kind, names, &partitions);
    let expected = model::evaluate(&groups, &aggregates);
    let job = job(kind, names, aggregates);
    for run in 0..3 {
        let outcome = Run::new(&job, &partitions, delay, seed * 31 + run).finish(run > 0);
        let mut lines = model::lines_of(&outcome.output);
        lines.sort();
        assert_eq!(lines, expected, "{kind:?} by {names:?}, seed {seed}, run {run}");
        assert_eq!(outcome.late_rows, late, "late rows of {kind:?}, seed {seed}, run {run}");
    }
}

const KINDS: [WindowKind; 8] = [
    WindowKind::Tumble { size: 40, offset: 0 },
    WindowKind::Tumble { size: 17, offset: 5 },
    WindowKind::Hop { size: 40, slide: 10, offset: 0 },
    WindowKind::Hop { size: 40, slide: 16, offset: 3 },
    WindowKind::Hop { size: 400, slide: 10, offset: 0 },
    WindowKind::Hop { size: 10, slide: 30, offset: 7 },
    WindowKind::Cumulate { size: 60, step: 20, offset: 0 },
    WindowKind::Cumulate { size: 30, step: 5, offset: -4 },
];

#[test]
fn counts_by_one_key_equal_the_batch_answer() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        for seed in 0..3 {
            check(kind, &["key"], vec![model::count_star()], index as u64 * 100 + seed);
        }
    }
}

#[test]
fn all_sorts_of_aggregates_equal_the_batch_answer() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        check(kind, &["key", "name"], model::aggregates(), 7000 + index as u64);
    }
}

#[test]
fn without_keys_and_without_aggregates() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        check(kind, &[], vec![model::count_star()], 8000 + index as u64);
        check(kind, &["name"], Vec::new(), 8100 + index as u64);
    }
}

/// Partial states merged give what one accumulator over all rows gives, but for rounding.
#[test]
fn every_aggregate_function_merges() {
    let (kind, names) = (WindowKind::Hop { size: 120, slide: 40, offset: 0 }, ["name"]);
    let mut random = fastrand::Rng::with_seed(9);
    let partitions: Vec<_> = (0..2).map(|_| model::random_partition(&mut random, 150, 20, 40)).collect();
    let (groups, _) = expected(kind, &names, &partitions);
    for aggregate in model::every_aggregate() {
        let name = aggregate.expr.name().to_string();
        let expected = model::evaluate(&groups, std::slice::from_ref(&aggregate));
        let outcome = Run::new(&job(kind, &names, vec![aggregate]), &partitions, 20, 77).finish(true);
        let mut lines = model::lines_of(&outcome.output);
        lines.sort();
        assert_eq!(lines.len(), expected.len(), "{name}");
        for (line, expected) in lines.iter().zip(&expected) {
            assert!(model::nearly_equal(line, expected), "{name}: {line} instead of {expected}");
        }
    }
}
