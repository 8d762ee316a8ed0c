//! Sessions against the model.

use super::harness::{Job, Run, global_schema, local_schema};
use super::model::{self, Group, Judged, Partition, Row};
use crate::operators::build_operator;
use crate::{
    Aggregate, Barrier, BarrierKind, Batch, EventTime, OperatorContext, OperatorSpec, SessionSpec, WindowStage,
};

fn job(gap: i64, names: &[&str], aggregates: Vec<Aggregate>) -> Job {
    let keys = model::keys(names);
    let input = model::input_schema();
    let local_schema = local_schema(&keys, &["__start", "__end"], &aggregates);
    let global_schema = global_schema(&keys, input.field(0).data_type().clone(), &aggregates);
    let spec = |stage| {
        let (keys, aggregates, input_schema) = (keys.clone(), aggregates.clone(), input.clone());
        OperatorSpec::Session(SessionSpec { stage, gap, input_schema, time_column: 0, keys, aggregates })
    };
    Job {
        local: Some((spec(WindowStage::Local), local_schema)),
        global: (spec(WindowStage::Global), global_schema),
        input: input.clone(),
        key_columns: names.len(),
        first_key: 0,
    }
}

/// Rows on time by key, sorted, cut where neighbours are more than the gap apart.
fn expected<'a>(gap: i64, names: &[&str], partitions: &'a [Partition]) -> (Group<'a>, u64) {
    let mut by_key = std::collections::BTreeMap::<_, Vec<&Row>>::new();
    let mut late = 0;
    for Judged { row, watermark } in partitions.iter().flatten() {
        if row.time < *watermark {
            late += 1;
        } else {
            by_key.entry(model::key_text(row, names)).or_default().push(row);
        }
    }
    let mut groups = Group::new();
    for (key, mut rows) in by_key {
        rows.sort_by_key(|row| row.time);
        for session in rows.chunk_by(|a, b| b.time - a.time <= gap) {
            let (first, last) = (session[0].time, session[session.len() - 1].time);
            groups.insert((key.clone(), first, last + gap), session.to_vec());
        }
    }
    (groups, late)
}

#[track_caller]
fn check(gap: i64, names: &[&str], aggregates: Vec<Aggregate>, rows: usize, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let delay = random.i64(0..30);
    let count = random.usize(1..4);
    let partitions: Vec<_> = (0..count).map(|_| model::random_partition(&mut random, rows, delay, 60)).collect();
    let (groups, late) = expected(gap, names, &partitions);
    let expected = model::evaluate(&groups, &aggregates);
    let job = job(gap, names, aggregates);
    for run in 0..3 {
        let outcome = Run::new(&job, &partitions, delay, seed * 31 + run).finish(run > 0);
        let mut lines = model::lines_of(&outcome.output);
        lines.sort();
        assert_eq!(lines, expected, "gap {gap} by {names:?}, seed {seed}, run {run}");
        assert_eq!(outcome.late_rows, late, "late rows, gap {gap}, seed {seed}, run {run}");
    }
}

#[test]
fn counts_by_one_key_equal_the_batch_answer() {
    for seed in 0..20 {
        check([1, 5, 12, 50][seed as usize % 4], &["key"], vec![model::count_star()], 150, seed);
    }
}

#[test]
fn all_sorts_of_aggregates_equal_the_batch_answer() {
    for seed in 0..6 {
        check([3, 9, 40][seed as usize % 3], &["key", "name"], model::aggregates(), 120, 500 + seed);
    }
}

#[test]
fn without_keys_and_without_aggregates() {
    for seed in 0..4 {
        check(6, &[], vec![model::count_star()], 150, 600 + seed);
        check(6, &["name"], Vec::new(), 150, 700 + seed);
    }
}

/// One session over everything gathers fragments without end; they are merged on the way.
#[test]
fn endless_sessions_equal_the_batch_answer() {
    for seed in 0..3 {
        check(100_000, &[], vec![model::count_star()], 1500, 800 + seed);
        check(100_000, &["key"], vec![model::count_star()], 1500, 850 + seed);
    }
}

/// A row right at the watermark is on time, one before it is late; a session lives while a row may still touch it.
#[test]
fn the_watermark_itself_is_on_time() {
    let job = job(10, &["key"], vec![model::count_star()]);
    let context = OperatorContext { worker: 0, workers: 1, batch_rows: 100 };
    let (spec, schema) = job.local.as_ref().unwrap();
    let mut local = build_operator(spec, schema.clone(), &[job.input.clone()], &context).unwrap();
    let (spec, global_schema) = &job.global;
    let mut global = build_operator(spec, global_schema.clone(), &[schema.clone()], &context).unwrap();
    let row = |time| Row { time, key: Some(1), name: "n".into(), value: None };
    let (mut middle, mut out) = (Vec::new(), Vec::new());
    let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Publish };
    local.batch(0, Batch::new(model::batch_of(&[&row(90)])), &mut middle).unwrap();
    assert_eq!(local.watermark(EventTime(100), &mut middle).unwrap(), None, "a row is held");
    assert_eq!(local.epoch_end(barrier, &mut middle).unwrap(), Some(EventTime(100)));
    global.batch(0, middle.remove(0), &mut out).unwrap();
    assert_eq!(global.watermark(EventTime(100), &mut out).unwrap(), Some(EventTime(99)));
    assert!(out.is_empty(), "a row at 100 would still join the session");
    let (early, exact) = (row(99), row(100));
    local.batch(0, Batch::new(model::batch_of(&[&early, &exact])), &mut middle).unwrap();
    assert_eq!(local.late_rows(), 1);
    local.epoch_end(barrier, &mut middle).unwrap();
    global.batch(0, middle.remove(0), &mut out).unwrap();
    global.watermark(EventTime(111), &mut out).unwrap();
    let rows: Vec<_> = out.into_iter().map(|batch| batch.rows).collect();
    assert_eq!(model::lines_of(&rows), ["1|90|110|2"]);
}
