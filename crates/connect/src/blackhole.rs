//! `blackhole`: a sink that counts rows and forgets them; for measuring what is in front of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use thalweg_engine::{
    Barrier, Batch, Committed, EngineError, Sink, SinkCommitter, SinkContext, SinkWriter, StagedFuture,
};

use crate::registry::{Connector, ConnectorInfo, OptionError, SinkRequest};

pub(crate) const CONNECTOR: Connector = Connector { info, source: None, sink: Some(open) };

/// Options of the `blackhole` sink: there are none.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct BlackholeOptions {}

fn info() -> ConnectorInfo {
    ConnectorInfo {
        name: "blackhole",
        summary: "counts rows and forgets them",
        source_options: None,
        sink_options: Some(crate::options::schema_of::<BlackholeOptions>()),
        metadata: vec![],
    }
}

fn open(request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    crate::options::parse::<BlackholeOptions>("the blackhole sink", &request.options)?;
    Ok(Arc::new(Blackhole::default()))
}

#[derive(Debug, Default)]
struct Blackhole {
    rows: Arc<AtomicU64>,
}

impl Sink for Blackhole {
    fn describe(&self) -> String {
        "blackhole".into()
    }

    fn accept(&self, _schema: &SchemaRef) -> Result<(), EngineError> {
        Ok(())
    }

    fn writer(&self, _context: SinkContext, _schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        Ok(Box::new(Writer { rows: self.rows.clone() }))
    }

    fn committer(&self, _context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        Ok(Box::new(Committer))
    }

    /// Nothing is ever seen, twice or otherwise.
    fn is_exactly_once(&self) -> bool {
        true
    }
}

struct Writer {
    rows: Arc<AtomicU64>,
}

impl SinkWriter for Writer {
    fn write(&mut self, batch: Batch) -> Result<(), EngineError> {
        self.rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn epoch_end(&mut self, barrier: Barrier) -> Result<StagedFuture, EngineError> {
        let rows = self.rows.load(Ordering::Relaxed);
        tracing::debug!(rows, checkpoint_epoch = barrier.checkpoint_epoch, "blackhole counts");
        Ok(async { Ok(vec![]) }.boxed())
    }
}

struct Committer;

impl SinkCommitter for Committer {
    fn recover<'a>(&'a self, _last: Option<(u64, &'a [Value])>) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }

    fn commit<'a>(&'a self, _epoch: u64, _staged: &'a [Value]) -> BoxFuture<'a, Result<Committed, EngineError>> {
        async { Ok(Committed::default()) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_no_options() {
        let request = SinkRequest {
            name: "b".into(),
            connector: "blackhole".into(),
            options: [("path".to_owned(), "x".to_owned())].into(),
            working_dir: ".".into(),
        };
        assert_eq!(open(&request).unwrap_err()[0].message, "the blackhole sink has no option 'path'");
    }
}
