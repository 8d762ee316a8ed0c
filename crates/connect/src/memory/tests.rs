//! The contracts of the connectors in memory.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use thalweg_engine::{
    Barrier, BarrierKind, Batch, Claim, Sink, SinkContext, Source, SourceContext, SourceFeed, SplitPosition, Waker,
};

use super::*;

#[derive(Debug)]
struct Quiet;

impl Waker for Quiet {
    fn wake(&self) {}
}

fn batch(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from_iter_values(values)) as _)]).unwrap()
}

fn open(io: &tokio::runtime::Runtime, source: &MemorySource, positions: Vec<SplitPosition>) -> Box<dyn SourceFeed> {
    let context = SourceContext {
        watch: false,
        workers: 1,
        batch_rows: 3,
        io: io.handle().clone(),
        wake: Arc::new(Quiet),
        projection: None,
        time_column: None,
    };
    source.open(context, positions).unwrap()
}

/// Up to `most` chunks: their values and the number of bad rows.
fn read(feed: &mut dyn SourceFeed, most: usize) -> (Vec<i64>, usize) {
    let mut decoder = feed.decoder().unwrap();
    let (mut values, mut bad) = (vec![], 0);
    for _ in 0..most {
        let Claim::Chunk(chunk) = feed.claim().unwrap() else { break };
        let decoded = decoder.decode(chunk).unwrap();
        bad += decoded.errors.len();
        for batch in decoded.batches {
            values.extend(batch.column(0).as_primitive::<Int64Type>().values());
        }
    }
    (values, bad)
}

#[test]
fn a_source_is_restored_at_any_chunk() {
    let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let schema = batch([]).schema();
    let source = MemorySource::unbounded(schema);
    source.push("a", batch(0..5));
    source.push_bad("a", "x");
    source.push("a", batch(5..7));
    source.push("b", batch(100..104));
    source.push_bad("b", "y");
    source.end();
    for cut in 0..8 {
        let mut first = open(&io, &source, vec![]);
        let (mut values, mut bad) = read(&mut *first, cut);
        let mut second = open(&io, &source, first.positions());
        let (more, more_bad) = read(&mut *second, 100);
        values.extend(more);
        bad += more_bad;
        values.sort_unstable();
        assert_eq!(values, (0..7).chain(100..104).collect::<Vec<_>>(), "cut after {cut}");
        assert_eq!(bad, 2, "cut after {cut}");
        assert!(matches!(second.claim().unwrap(), Claim::Finished));
        assert!(second.splits().iter().all(|split| split.finished));
    }
}

#[test]
fn an_unbounded_source_waits_for_rows() {
    let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let source = MemorySource::unbounded(batch([]).schema());
    let mut feed = open(&io, &source, vec![]);
    assert!(matches!(feed.claim().unwrap(), Claim::Pending));
    source.push("a", batch([1]));
    assert_eq!(read(&mut *feed, 1).0, [1]);
    assert!(matches!(feed.claim().unwrap(), Claim::Pending));
    source.end();
    assert!(matches!(feed.claim().unwrap(), Claim::Finished));
}

#[test]
fn commits_are_idempotent_wherever_they_stop() {
    let io = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = |worker, generation| SinkContext { owner: "p/s".into(), generation, worker, io: io.handle().clone() };
    for fault in [CommitFault::BeforeFirst, CommitFault::Within, CommitFault::AfterLast] {
        let store = MemoryStore::new();
        let sink = MemorySink::new(store.clone());
        let committer = sink.committer(context(0, 1)).unwrap();
        io.block_on(committer.recover(None)).unwrap();
        let mut references = vec![];
        for worker in 0..2 {
            let mut writer = sink.writer(context(worker, 1), batch([]).schema()).unwrap();
            writer.write(Batch::new(batch([worker as i64]))).unwrap();
            let barrier = Barrier { checkpoint_epoch: 1, kind: BarrierKind::Checkpoint };
            references.extend(io.block_on(writer.epoch_end(barrier).unwrap()).unwrap());
        }
        store.fail_next_commit(fault);
        assert!(io.block_on(committer.commit(1, &references)).is_err());
        // A restart: the manifest names them, so they are committed, again or for the first time.
        let committer = sink.committer(context(0, 2)).unwrap();
        io.block_on(committer.recover(Some((1, &references)))).unwrap();
        io.block_on(committer.commit(1, &references)).unwrap();
        assert_eq!((store.row_count(), store.staged_count()), (2, 0), "{fault:?}");
        assert!(io.block_on(committer.recover(None)).is_err(), "a first start does not add to old rows");
    }
}
