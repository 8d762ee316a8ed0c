//! One worker: an instance of every node of the graph, stepped by one thread.
//!
//! A step reads a bounded amount from rings (downstream first) or one chunk from a source, and pushes it through the
//! chain behind it by direct calls. Inputs that delivered the current barrier stay unread until every node of this worker
//! has passed it. A chain whose exchange cannot take more is not fed; since exchanges form a DAG, the most downstream
//! chain can always run, so workers never wait for each other in a circle.
//!
//! Invariants: per channel, watermarks never fall; a node passes each barrier exactly once, after all its channels.

use std::sync::Arc;
use std::time::Duration;

use super::exchange::ExchangeSender;
use super::metrics::{Counters, add};
use super::ring::{Message, RingReceiver};
use super::source::{SourceReader, SourceStep};
use crate::{Barrier, Batch, EngineError, EventTime, Operator, SinkWriter, StagedFuture, StateDelta};

/// Messages read from one ring before others get a turn.
const MESSAGES_PER_TURN: usize = 16;

/// What a node does with rows.
pub(crate) enum Role {
    Source(Box<SourceReader>),
    /// Passes on the bad rows of its source.
    DeadLetters,
    Operator(Box<dyn Operator>),
    Sink(Box<dyn SinkWriter>),
}

pub(crate) enum Output {
    Local { node: usize, port: usize, dead_letters: bool },
    Exchange(ExchangeSender),
}

/// One input of a node: a single local channel, or one ring per worker.
pub(crate) struct Port {
    pub(crate) rings: Vec<RingReceiver>,
    watermarks: Vec<EventTime>,
    passed: Vec<bool>,
}

impl Port {
    pub(crate) fn local() -> Self {
        Self { rings: Vec::new(), watermarks: vec![EventTime::MIN], passed: vec![false] }
    }

    pub(crate) fn exchange(rings: Vec<RingReceiver>) -> Self {
        let channels = rings.len();
        Self { rings, watermarks: vec![EventTime::MIN; channels], passed: vec![false; channels] }
    }
}

pub(crate) struct NodeInstance {
    pub(crate) role: Role,
    pub(crate) ports: Vec<Port>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) stateful: bool,
    watermark: EventTime,
    forwarded: EventTime,
    late_counted: u64,
}

impl NodeInstance {
    pub(crate) fn new(role: Role, ports: Vec<Port>, outputs: Vec<Output>, stateful: bool) -> Self {
        Self { role, ports, outputs, stateful, watermark: EventTime::MIN, forwarded: EventTime::MIN, late_counted: 0 }
    }
}

/// Exact counts of one worker, for manifests.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WorkerTotals {
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) late: u64,
}

/// A worker has passed a barrier with all its nodes.
pub(crate) struct Ack {
    pub(crate) worker: usize,
    pub(crate) barrier: Barrier,
    /// Per stateful node, at durable barriers.
    pub(crate) states: Vec<(usize, StateDelta, EventTime)>,
    /// Per sink node.
    pub(crate) staged: Vec<(usize, StagedFuture)>,
    pub(crate) totals: WorkerTotals,
    /// Time this worker spent inside barrier work.
    pub(crate) stall: Duration,
}

pub(crate) struct Worker {
    pub(crate) index: usize,
    nodes: Vec<NodeInstance>,
    /// Per node: nodes reachable without an exchange (itself included) that have exchange outputs.
    reach: Vec<Vec<usize>>,
    sources: Vec<usize>,
    source_passed: Vec<bool>,
    ring_fed: Vec<usize>,
    nodes_passed: usize,
    ack: Option<Ack>,
    totals: WorkerTotals,
    counters: Arc<Counters>,
    clock: Arc<dyn Fn() -> Duration + Send + Sync>,
}

/// What a step achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stepped {
    Worked,
    /// Decoded rows wait for another worker's watermark: try again very soon.
    Waiting,
    Idle,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        nodes: Vec<NodeInstance>,
        counters: Arc<Counters>,
        clock: Arc<dyn Fn() -> Duration + Send + Sync>,
    ) -> Self {
        let reach = (0..nodes.len()).map(|node| reachable(&nodes, node)).collect();
        let sources: Vec<_> = (0..nodes.len()).filter(|&n| matches!(nodes[n].role, Role::Source(_))).collect();
        let ring_fed = (0..nodes.len()).rev().filter(|&n| nodes[n].ports.iter().any(|p| !p.rings.is_empty())).collect();
        let source_passed = vec![false; sources.len()];
        Self {
            index,
            nodes,
            reach,
            sources,
            source_passed,
            ring_fed,
            nodes_passed: 0,
            ack: None,
            totals: WorkerTotals::default(),
            counters,
            clock,
        }
    }

    /// Does a bounded piece of work.
    pub(crate) fn step(&mut self) -> Result<Stepped, EngineError> {
        let mut stepped = Stepped::Idle;
        for at in 0..self.ring_fed.len() {
            if self.read_rings(self.ring_fed[at])? {
                stepped = Stepped::Worked;
            }
        }
        for at in 0..self.sources.len() {
            match self.read_source(at)? {
                Stepped::Worked => stepped = Stepped::Worked,
                Stepped::Waiting if stepped == Stepped::Idle => stepped = Stepped::Waiting,
                _ => {}
            }
        }
        if stepped != Stepped::Worked {
            for node in &mut self.nodes {
                for output in &mut node.outputs {
                    if let Output::Exchange(sender) = output {
                        sender.release_held()?;
                    }
                }
            }
        }
        Ok(stepped)
    }

    /// Every source has ended here and sent its last watermark.
    pub(crate) fn sources_finished(&self) -> bool {
        self.sources.iter().all(|&node| match &self.nodes[node].role {
            Role::Source(reader) => reader.is_finished(),
            _ => true,
        })
    }

    /// The acknowledgement of a barrier that all nodes have passed by now.
    pub(crate) fn take_ack(&mut self) -> Option<Ack> {
        if self.nodes_passed < self.nodes.len() || self.ack.is_none() {
            return None;
        }
        self.nodes_passed = 0;
        self.source_passed.fill(false);
        for node in &mut self.nodes {
            for port in &mut node.ports {
                port.passed.fill(false);
            }
        }
        let mut ack = self.ack.take()?;
        ack.totals = self.totals;
        Some(ack)
    }

    fn can_run(&mut self, head: usize) -> bool {
        let mut clear = true;
        for at in 0..self.reach[head].len() {
            let node = self.reach[head][at];
            for output in &mut self.nodes[node].outputs {
                if let Output::Exchange(sender) = output {
                    clear &= sender.flush();
                }
            }
        }
        clear
    }

    fn read_rings(&mut self, node: usize) -> Result<bool, EngineError> {
        let mut worked = false;
        for port in 0..self.nodes[node].ports.len() {
            for channel in 0..self.nodes[node].ports[port].rings.len() {
                for _ in 0..MESSAGES_PER_TURN {
                    if self.nodes[node].ports[port].passed[channel] || !self.can_run(node) {
                        break;
                    }
                    let Some(message) = self.nodes[node].ports[port].rings[channel].receive() else { break };
                    worked = true;
                    match message {
                        Message::Rows(batch) => self.rows(node, port, batch)?,
                        Message::Watermark(time) => self.watermark(node, port, channel, time)?,
                        Message::Barrier(barrier) => self.barrier(node, port, channel, barrier)?,
                    }
                }
            }
        }
        Ok(worked)
    }

    fn read_source(&mut self, at: usize) -> Result<Stepped, EngineError> {
        let node = self.sources[at];
        if self.source_passed[at] || !self.can_run(node) {
            return Ok(Stepped::Idle);
        }
        let now = (self.clock)();
        let Role::Source(reader) = &mut self.nodes[node].role else { unreachable!("sources are listed once") };
        let SourceStep { batches, dead_letters, watermark, barrier, worked } = reader.step(now)?;
        let waiting = reader.is_waiting();
        let spent = (self.clock)().saturating_sub(now);
        if worked {
            add(&self.counters.nodes[node].busy_nanos, spent.as_nanos() as u64);
        }
        let rows: usize = batches.iter().map(Batch::num_rows).sum();
        if rows > 0 {
            self.totals.rows_in += rows as u64;
            let counters = &self.counters.nodes[node];
            add(&counters.rows_in, rows as u64);
            add(&counters.batches_in, batches.len() as u64);
        }
        if let Some(rows) = dead_letters {
            self.forward_dead_letters(node, Batch::new(rows))?;
        }
        self.forward_rows(node, batches)?;
        if let Some(time) = watermark {
            self.nodes[node].watermark = time;
            self.forward_watermark(node, time)?;
        }
        if let Some(barrier) = barrier {
            self.source_passed[at] = true;
            self.pass(node, barrier)?;
        }
        Ok(if worked || barrier.is_some() || watermark.is_some() {
            Stepped::Worked
        } else if waiting {
            Stepped::Waiting
        } else {
            Stepped::Idle
        })
    }

    fn rows(&mut self, node: usize, port: usize, batch: Batch) -> Result<(), EngineError> {
        let counters = self.counters.clone();
        let counters = &counters.nodes[node];
        add(&counters.rows_in, batch.num_rows() as u64);
        add(&counters.batches_in, 1);
        let clock = self.clock.clone();
        let began = clock();
        let mut out: Vec<Batch> = Vec::new();
        match &mut self.nodes[node].role {
            Role::Operator(operator) => {
                operator.batch(port, batch, &mut out)?;
                while operator.poll_more(&mut out)? {}
            }
            Role::Sink(writer) => {
                self.totals.rows_out += batch.num_rows() as u64;
                writer.write(batch)?;
            }
            Role::DeadLetters => out.push(batch),
            Role::Source(_) => return Err(EngineError::bug("a source node was given rows")),
        }
        add(&counters.busy_nanos, clock().saturating_sub(began).as_nanos() as u64);
        self.forward_rows(node, out)
    }

    fn watermark(&mut self, node: usize, port: usize, channel: usize, time: EventTime) -> Result<(), EngineError> {
        let instance = &mut self.nodes[node];
        let known = &mut instance.ports[port].watermarks[channel];
        if time <= *known {
            return Ok(());
        }
        *known = time;
        let combined =
            instance.ports.iter().flat_map(|p| p.watermarks.iter().copied()).min().expect("a port has a channel");
        if combined <= instance.watermark {
            return Ok(());
        }
        instance.watermark = combined;
        if combined < EventTime::MAX {
            self.counters.nodes[node].event_watermark.store(combined.0, std::sync::atomic::Ordering::Relaxed);
        }
        let mut out: Vec<Batch> = Vec::new();
        let clock = self.clock.clone();
        let began = clock();
        let forward = match &mut self.nodes[node].role {
            Role::Operator(operator) => {
                let forward = operator.watermark(combined, &mut out)?;
                while operator.poll_more(&mut out)? {}
                forward
            }
            _ => Some(combined),
        };
        add(&self.counters.nodes[node].busy_nanos, clock().saturating_sub(began).as_nanos() as u64);
        self.forward_rows(node, out)?;
        match forward {
            Some(time) => self.forward_watermark(node, time),
            None => Ok(()),
        }
    }

    fn barrier(&mut self, node: usize, port: usize, channel: usize, barrier: Barrier) -> Result<(), EngineError> {
        let passed = &mut self.nodes[node].ports[port].passed[channel];
        assert!(!*passed, "a channel delivers each barrier once");
        *passed = true;
        if self.nodes[node].ports.iter().all(|port| port.passed.iter().all(|&p| p)) {
            self.pass(node, barrier)?;
        }
        Ok(())
    }

    /// The barrier has arrived on all inputs of `node`.
    fn pass(&mut self, node: usize, barrier: Barrier) -> Result<(), EngineError> {
        let clock = self.clock.clone();
        let began = clock();
        self.ack.get_or_insert_with(|| Ack {
            worker: 0,
            barrier,
            states: Vec::new(),
            staged: Vec::new(),
            totals: WorkerTotals::default(),
            stall: Duration::ZERO,
        });
        let mut out: Vec<Batch> = Vec::new();
        let mut forward = None;
        let (mut state, mut staged) = (None, None);
        let watermark = self.nodes[node].watermark;
        let stateful = self.nodes[node].stateful;
        match &mut self.nodes[node].role {
            Role::Operator(operator) => {
                forward = operator.epoch_end(barrier, &mut out)?;
                while operator.poll_more(&mut out)? {}
                if stateful && barrier.kind.is_durable() {
                    state = Some((node, operator.snapshot()?, watermark));
                }
            }
            Role::Sink(writer) => staged = Some((node, writer.epoch_end(barrier)?)),
            Role::Source(_) | Role::DeadLetters => {}
        }
        let spent = clock().saturating_sub(began);
        add(&self.counters.nodes[node].busy_nanos, spent.as_nanos() as u64);
        let ack = self.ack.as_mut().expect("made above");
        assert_eq!(ack.barrier, barrier, "one barrier at a time");
        ack.worker = self.index;
        ack.states.extend(state);
        ack.staged.extend(staged);
        ack.stall += spent;
        self.nodes_passed += 1;
        self.measure(node);
        self.forward_rows(node, out)?;
        if let Some(time) = forward {
            self.forward_watermark(node, time)?;
        }
        self.forward_barrier(node, barrier)
    }

    /// Brings the gauges of a node up to date; once per epoch.
    fn measure(&mut self, node: usize) {
        let Role::Operator(operator) = &self.nodes[node].role else { return };
        let counters = &self.counters.nodes[node];
        let late = operator.late_rows();
        let (bytes, rows) = (operator.state_bytes() as u64, operator.state_rows() as u64);
        let index = self.index;
        counters.set_state(index, bytes, rows);
        let instance = &mut self.nodes[node];
        let newly = late - instance.late_counted;
        instance.late_counted = late;
        self.totals.late += newly;
        add(&self.counters.nodes[node].late, newly);
    }

    fn forward_rows(&mut self, node: usize, batches: Vec<Batch>) -> Result<(), EngineError> {
        for batch in batches {
            if batch.num_rows() == 0 {
                continue;
            }
            add(&self.counters.nodes[node].rows_out, batch.num_rows() as u64);
            for at in 0..self.nodes[node].outputs.len() {
                match &mut self.nodes[node].outputs[at] {
                    Output::Local { dead_letters: true, .. } => {}
                    Output::Local { node, port, .. } => {
                        let (node, port) = (*node, *port);
                        self.rows(node, port, batch.clone())?;
                    }
                    Output::Exchange(sender) => sender.rows(batch.clone())?,
                }
            }
        }
        Ok(())
    }

    fn forward_dead_letters(&mut self, node: usize, batch: Batch) -> Result<(), EngineError> {
        for at in 0..self.nodes[node].outputs.len() {
            if let Output::Local { node, port, dead_letters: true } = self.nodes[node].outputs[at] {
                self.rows(node, port, batch.clone())?;
            }
        }
        Ok(())
    }

    fn forward_watermark(&mut self, node: usize, time: EventTime) -> Result<(), EngineError> {
        if time <= self.nodes[node].forwarded {
            return Ok(());
        }
        self.nodes[node].forwarded = time;
        for at in 0..self.nodes[node].outputs.len() {
            match &mut self.nodes[node].outputs[at] {
                Output::Local { node, port, .. } => {
                    let (node, port) = (*node, *port);
                    self.watermark(node, port, 0, time)?;
                }
                Output::Exchange(sender) => sender.watermark(time),
            }
        }
        Ok(())
    }

    fn forward_barrier(&mut self, node: usize, barrier: Barrier) -> Result<(), EngineError> {
        for at in 0..self.nodes[node].outputs.len() {
            match &mut self.nodes[node].outputs[at] {
                Output::Local { node, port, .. } => {
                    let (node, port) = (*node, *port);
                    self.barrier(node, port, 0, barrier)?;
                }
                Output::Exchange(sender) => sender.barrier(barrier)?,
            }
        }
        Ok(())
    }

    /// Sends on what still waits in front of full rings; true if nothing does.
    pub(crate) fn flush(&mut self) -> bool {
        let mut clear = true;
        for node in &mut self.nodes {
            for output in &mut node.outputs {
                if let Output::Exchange(sender) = output {
                    clear &= sender.flush();
                }
            }
        }
        clear
    }
}

fn reachable(nodes: &[NodeInstance], from: usize) -> Vec<usize> {
    let mut seen = vec![false; nodes.len()];
    let mut stack = vec![from];
    let mut found = Vec::new();
    while let Some(node) = stack.pop() {
        if std::mem::replace(&mut seen[node], true) {
            continue;
        }
        if nodes[node].outputs.iter().any(|o| matches!(o, Output::Exchange(_))) {
            found.push(node);
        }
        for output in &nodes[node].outputs {
            if let Output::Local { node, .. } = output {
                stack.push(*node);
            }
        }
    }
    found
}
