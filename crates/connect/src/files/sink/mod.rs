//! Files as a sink, exactly once.
//!
//! Layout under the sink's path (docs/reference/connectors/files.md describes it for users):
//!
//! ```text
//! part-<epoch>-<worker>-<n>.<format>        committed files, complete and never changed; with partition_by in a=1/b=2/
//! _thalweg/owner.json                       which sink writes here
//! _thalweg/staged/<generation>-<worker>-<n> files that no commit has named yet
//! _thalweg/committed.json                   the last checkpoint whose files are all visible
//! _thalweg/commits/<epoch>.json             what each commit made visible, so that --restart removes only that
//! ```
//!
//! Invariants: a final name follows from epoch, worker and number alone, and is taken by put-if-absent; so a commit may
//! be repeated any number of times, by any process. The commit's log is written before its first file becomes visible,
//! so no file of ours is ever unknown.

mod commit;
mod config;
mod encode;
mod local;
mod object;
mod partition;
mod target;
mod writer;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use thalweg_engine::{EngineError, Sink, SinkCommitter, SinkContext, SinkWriter};

use self::commit::FilesCommitter;
use self::config::Config;
pub(crate) use self::config::FilesSinkOptions;
use self::encode::FileEncoder;
use self::target::Target;
use self::writer::FilesWriter;
use crate::options::suggestion;
use crate::registry::{OptionError, SinkRequest};

pub(crate) fn open(request: &SinkRequest) -> Result<Arc<dyn Sink>, Vec<OptionError>> {
    Ok(Arc::new(FilesSink { config: Arc::new(config::resolve(request)?) }))
}

#[derive(Debug)]
struct FilesSink {
    config: Arc<Config>,
}

impl Sink for FilesSink {
    fn describe(&self) -> String {
        let Config { location, format, partition_by, .. } = &*self.config;
        let by = if partition_by.is_empty() { String::new() } else { format!(", by {}", partition_by.join(", ")) };
        format!("files: {} ({}{by})", location.path, format.name())
    }

    fn accept(&self, schema: &SchemaRef) -> Result<(), EngineError> {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        if let Some(missing) = self.config.partition_by.iter().find(|name| !names.contains(&name.as_str())) {
            let hint = suggestion(missing, names);
            return Err(EngineError::request(format!("partition_by: the query has no column {missing}; {hint}")));
        }
        // The encoder knows which types it can write; an empty batch makes it say so.
        let mut encoder = FileEncoder::new(&self.config, schema)?;
        encoder.write(&RecordBatch::new_empty(schema.clone()))
    }

    fn writer(&self, context: SinkContext, schema: SchemaRef) -> Result<Box<dyn SinkWriter>, EngineError> {
        let target = Target::connect(&self.config.location, &context.io)?;
        Ok(Box::new(FilesWriter::new(self.config.clone(), target, context, schema)?))
    }

    fn committer(&self, context: SinkContext) -> Result<Box<dyn SinkCommitter>, EngineError> {
        let target = Target::connect(&self.config.location, &context.io)?;
        Ok(Box::new(FilesCommitter::new(target, context)))
    }

    fn is_exactly_once(&self) -> bool {
        true
    }

    fn reset(&self, context: SinkContext) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(async move {
            let target = Target::connect(&self.config.location, &context.io)?;
            FilesCommitter::new(target, context).reset().await
        })
    }
}
