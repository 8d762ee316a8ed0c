//! A toy runtime: workers with a local and a global operator, an exchange by vnode, barriers, crashes, rescaling.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{SchemaRef, UInt16Type};

use super::model::{Judged, Partition, batch_of};
use crate::operators::build_operator;
use crate::operators::keys::vnodes;
use crate::{
    Barrier, BarrierKind, Batch, EventTime, Operator, OperatorContext, OperatorSpec, RestoredState, StateRows,
};

/// What is run: the local half (if any) and the half behind the exchange.
pub struct Job {
    pub local: Option<(OperatorSpec, SchemaRef)>,
    pub global: (OperatorSpec, SchemaRef),
    pub input: SchemaRef,
    /// Columns of the exchanged rows.
    pub key_columns: usize,
    /// Where they are, in the exchanged rows.
    pub first_key: usize,
}

struct Worker {
    local: Option<Box<dyn Operator>>,
    global: Box<dyn Operator>,
    /// What the local half last forwarded.
    forwarded: EventTime,
    output: Vec<Batch>,
    /// What this instance has in the checkpoint.
    saved: Vec<StateRows>,
}

/// A consistent cut to return to.
#[derive(Clone)]
struct Cut {
    positions: Vec<usize>,
    output_rows: Vec<RecordBatch>,
    saved: Vec<StateRows>,
    event_watermark: EventTime,
    late_rows: u64,
}

pub struct Run<'a> {
    job: &'a Job,
    partitions: &'a [Partition],
    delay: i64,
    random: fastrand::Rng,
    workers: Vec<Worker>,
    positions: Vec<usize>,
    output: Vec<RecordBatch>,
    cut: Cut,
    /// Late rows of instances that are gone.
    late_before: u64,
    global_watermark: EventTime,
    /// Largest watermark seen in front of the sinks: no later window may have its last instant before it.
    pub check_bound: bool,
    bound: i64,
}

pub struct Outcome {
    pub output: Vec<RecordBatch>,
    pub late_rows: u64,
}

impl<'a> Run<'a> {
    pub fn new(job: &'a Job, partitions: &'a [Partition], delay: i64, seed: u64) -> Self {
        let positions = vec![0; partitions.len()];
        let cut = Cut {
            positions: positions.clone(),
            output_rows: Vec::new(),
            saved: Vec::new(),
            event_watermark: EventTime::MIN,
            late_rows: 0,
        };
        let mut run = Self {
            job,
            partitions,
            delay,
            random: fastrand::Rng::with_seed(seed),
            workers: Vec::new(),
            positions,
            output: Vec::new(),
            cut,
            late_before: 0,
            global_watermark: EventTime::MIN,
            check_bound: true,
            bound: i64::MIN,
        };
        run.start();
        run
    }

    /// New instances of all operators from the last cut, on a random number of workers.
    fn start(&mut self) {
        let workers = self.random.usize(1..=3);
        self.positions = self.cut.positions.clone();
        self.output = self.cut.output_rows.clone();
        self.late_before = self.cut.late_rows;
        self.global_watermark = self.cut.event_watermark;
        self.bound = i64::MIN;
        self.workers = (0..workers).map(|worker| self.start_worker(worker, workers)).collect();
    }

    fn start_worker(&mut self, worker: usize, workers: usize) -> Worker {
        let context = OperatorContext { worker, workers, batch_rows: self.random.usize(1..40) };
        let local =
            self.job.local.as_ref().map(|(spec, schema)| {
                build_operator(spec, schema.clone(), &[self.job.input.clone()], &context).unwrap()
            });
        let middle = self.job.local.as_ref().map_or(&self.job.input, |(_, schema)| schema);
        let (spec, schema) = &self.job.global;
        let mut global = build_operator(spec, schema.clone(), std::slice::from_ref(middle), &context).unwrap();
        let mut saved = Vec::new();
        for StateRows { rows } in &self.cut.saved {
            let vnode = rows.column(0).as_primitive::<UInt16Type>();
            let mine =
                (0..rows.num_rows()).filter(|&row| thalweg_state::worker_of(vnode.value(row), workers) == worker);
            let mine = UInt32Array::from_iter_values(mine.map(|row| row as u32));
            if !mine.is_empty() {
                saved.push(StateRows { rows: take_record_batch(rows, &mine).unwrap() });
            }
        }
        let state = RestoredState { rows: saved.clone(), event_watermark: self.cut.event_watermark };
        if self.random.bool() || !state.rows.is_empty() || self.cut.event_watermark != EventTime::MIN {
            global.restore(state).unwrap();
        }
        Worker { local, global, forwarded: EventTime::MIN, output: Vec::new(), saved }
    }

    /// Feeds all rows in random order of partitions, with random barriers and crashes.
    pub fn finish(mut self, crashes: bool) -> Outcome {
        loop {
            let open: Vec<_> =
                (0..self.partitions.len()).filter(|&p| self.positions[p] < self.partitions[p].len()).collect();
            if open.is_empty() {
                break;
            }
            let partition = open[self.random.usize(..open.len())];
            self.feed(partition);
            match self.random.u8(..20) {
                0..4 => self.advance_watermark(),
                4..6 => self.barrier(BarrierKind::Publish),
                6..8 => self.barrier(BarrierKind::Checkpoint),
                8 if crashes => self.start(),
                9 => self.poll_all(),
                _ => {}
            }
        }
        self.forward_watermark(EventTime::MAX);
        self.barrier(BarrierKind::Stop);
        Outcome { late_rows: self.late_rows(), output: self.output }
    }

    fn late_rows(&self) -> u64 {
        let own = |worker: &Worker| worker.global.late_rows() + worker.local.as_ref().map_or(0, |l| l.late_rows());
        self.late_before + self.workers.iter().map(own).sum::<u64>()
    }

    fn feed(&mut self, partition: usize) {
        let from = self.positions[partition];
        let rows = &self.partitions[partition];
        let to = (from + self.random.usize(1..30)).min(rows.len());
        self.positions[partition] = to;
        let chunk: &[Judged] = &rows[from..to];
        let behind = |judged: &Judged| (judged.row.time < judged.watermark).then_some(judged.watermark);
        let row_watermark: Int64Array = chunk.iter().map(behind).collect();
        let row_watermark = (row_watermark.null_count() < chunk.len()).then_some(row_watermark);
        let rows: Vec<_> = chunk.iter().map(|judged| &judged.row).collect();
        let batch = Batch::with_row_watermark(batch_of(&rows), row_watermark);
        let worker = self.random.usize(..self.workers.len());
        match &mut self.workers[worker].local {
            Some(local) => {
                let mut out = Vec::new();
                local.batch(0, batch, &mut out).unwrap();
                self.exchange(out);
            }
            None => self.exchange(vec![batch]),
        }
    }

    /// Rows to the owners of their keys, coalesced or not.
    fn exchange(&mut self, batches: Vec<Batch>) {
        let workers = self.workers.len();
        for batch in batches {
            let keys = self.job.first_key..self.job.first_key + self.job.key_columns;
            let keys: Vec<_> = batch.rows.columns()[keys].to_vec();
            let vnode = vnodes(&keys, batch.num_rows()).unwrap();
            for worker in 0..workers {
                let mine = (0..batch.num_rows())
                    .filter(|&row| thalweg_state::worker_of(vnode.value(row), workers) == worker)
                    .map(|row| row as u32);
                let mine = UInt32Array::from_iter_values(mine);
                if mine.is_empty() {
                    continue;
                }
                let rows = take_record_batch(&batch.rows, &mine).unwrap();
                let Worker { global, output, .. } = &mut self.workers[worker];
                global.batch(0, Batch::new(rows), output).unwrap();
            }
        }
    }

    /// The watermark that the partitions have reached.
    fn source_watermark(&self) -> EventTime {
        let of = |(rows, &position): (&Partition, &usize)| match rows.get(position) {
            Some(next) => next.watermark,
            None => rows.iter().map(|judged| judged.row.time).max().map_or(i64::MAX, |time| time - self.delay),
        };
        EventTime(self.partitions.iter().zip(&self.positions).map(of).min().unwrap_or(i64::MAX))
    }

    fn advance_watermark(&mut self) {
        let watermark = self.source_watermark();
        self.forward_watermark(watermark);
    }

    fn forward_watermark(&mut self, watermark: EventTime) {
        for index in 0..self.workers.len() {
            let mut out = Vec::new();
            let forwarded = match &mut self.workers[index].local {
                Some(local) => local.watermark(watermark, &mut out).unwrap(),
                None => Some(watermark),
            };
            self.exchange(out);
            self.heard(index, forwarded);
        }
        self.advance_global();
    }

    fn heard(&mut self, worker: usize, forwarded: Option<EventTime>) {
        if let Some(forwarded) = forwarded {
            self.workers[worker].forwarded = self.workers[worker].forwarded.max(forwarded);
        }
    }

    fn advance_global(&mut self) {
        let least = self.workers.iter().map(|worker| worker.forwarded).min().expect("there is a worker");
        if least <= self.global_watermark {
            return;
        }
        self.global_watermark = least;
        for index in 0..self.workers.len() {
            let Worker { global, output, .. } = &mut self.workers[index];
            let forwarded = global.watermark(least, output).unwrap();
            self.collect(index, forwarded);
        }
    }

    fn poll_all(&mut self) {
        for index in 0..self.workers.len() {
            let Worker { global, output, .. } = &mut self.workers[index];
            while global.poll_more(output).unwrap() {}
            self.collect(index, None);
        }
    }

    /// Takes output in front of the sink, checking the promise that a watermark makes about `window_end` - 1.
    fn collect(&mut self, worker: usize, forwarded: Option<EventTime>) {
        let batches = std::mem::take(&mut self.workers[worker].output);
        let end = self.job.key_columns + 1;
        for batch in batches {
            if self.check_bound {
                for line in super::model::lines_of(&[batch.rows.project(&[end]).unwrap()]) {
                    assert!(line.parse::<i64>().unwrap() > self.bound, "window to {line} behind {}", self.bound);
                }
            }
            assert_eq!(batch.rows.schema(), self.job.global.1);
            self.output.push(batch.rows);
        }
        if let (Some(forwarded), 1) = (forwarded, self.workers.len()) {
            assert!(forwarded.0 >= self.bound, "watermarks rise");
            self.bound = forwarded.0;
        }
    }

    fn barrier(&mut self, kind: BarrierKind) {
        let barrier = Barrier { checkpoint_epoch: 1, kind };
        for index in 0..self.workers.len() {
            let mut out = Vec::new();
            let forwarded = match &mut self.workers[index].local {
                Some(local) => local.epoch_end(barrier, &mut out).unwrap(),
                None => None,
            };
            self.exchange(out);
            self.heard(index, forwarded);
            if let Some(local) = &self.workers[index].local {
                assert_eq!(local.state_rows(), 0, "nothing is held across a barrier");
            }
        }
        self.advance_global();
        for index in 0..self.workers.len() {
            let Worker { global, output, .. } = &mut self.workers[index];
            let forwarded = global.epoch_end(barrier, output).unwrap();
            self.collect(index, forwarded);
        }
        if kind.is_durable() {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        for worker in &mut self.workers {
            let delta = worker.global.snapshot().unwrap();
            if delta.replace {
                worker.saved.clear();
            }
            worker.saved.extend(delta.rows);
        }
        self.cut = Cut {
            positions: self.positions.clone(),
            output_rows: self.output.clone(),
            saved: self.workers.iter().flat_map(|worker| worker.saved.clone()).collect(),
            event_watermark: self.global_watermark,
            late_rows: self.late_rows(),
        };
    }
}

/// Output schema of a local stage: keys, `extra` Int64 columns, states.
pub fn local_schema(keys: &[crate::NamedExpr], extra: &[&str], aggregates: &[crate::Aggregate]) -> SchemaRef {
    use arrow::datatypes::{DataType, Field, Schema};
    let input = super::model::input_schema();
    let mut fields: Vec<_> = keys.iter().map(|key| field_of(key, &input)).collect();
    fields.extend(extra.iter().map(|name| Arc::new(Field::new(*name, DataType::Int64, false))));
    for aggregate in aggregates {
        fields.extend(aggregate.expr.state_fields().unwrap());
    }
    Arc::new(Schema::new(fields))
}

/// Output schema of a global stage: keys, bounds, results.
pub fn global_schema(
    keys: &[crate::NamedExpr],
    bound: arrow::datatypes::DataType,
    aggregates: &[crate::Aggregate],
) -> SchemaRef {
    use arrow::datatypes::{Field, Schema};
    let input = super::model::input_schema();
    let mut fields: Vec<_> = keys.iter().map(|key| field_of(key, &input)).collect();
    fields.extend(["window_start", "window_end"].map(|name| Arc::new(Field::new(name, bound.clone(), false))));
    fields.extend(aggregates.iter().map(|aggregate| aggregate.expr.field()));
    Arc::new(Schema::new(fields))
}

fn field_of(key: &crate::NamedExpr, input: &SchemaRef) -> arrow::datatypes::FieldRef {
    Arc::new(arrow::datatypes::Field::new(&key.name, key.expr.data_type(input).unwrap(), true))
}
