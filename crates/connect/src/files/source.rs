//! Files as a source: what `CREATE SOURCE` makes, before anything runs.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_engine::{EngineError, Source, SourceContext, SourceFeed, SplitPosition};

use super::config::{Config, resolve};
use super::feed::FilesFeed;
use super::schema::{Metadata, Reading, check_not_empty, format_of, infer, whole_schema};
use super::storage::Storage;
use crate::registry::{OptionError, SourceRequest};

pub(crate) fn check(request: &SourceRequest) -> Vec<OptionError> {
    resolve(request).err().unwrap_or_default()
}

/// Looks at the files only if columns are to be inferred.
pub(crate) fn open(request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
    let config = resolve(request)?;
    let physical = match &request.columns {
        Some(columns) => columns.clone(),
        None => infer_columns(&config).map_err(|error| {
            let (message, hint) = split_hint(&error.message);
            vec![OptionError { key: Some("path".into()), message, hint }]
        })?,
    };
    let named = |(name, key): &(String, String)| Metadata::of_key(key).map(|metadata| (name.clone(), metadata));
    let metadata: Vec<(String, Metadata)> = request.metadata.iter().filter_map(named).collect();
    let schema = whole_schema(&physical, &metadata);
    Ok(Arc::new(FilesSource { config, physical, inferred: request.columns.is_none(), metadata, schema }))
}

#[derive(Debug, Clone)]
struct FilesSource {
    config: Config,
    physical: SchemaRef,
    inferred: bool,
    metadata: Vec<(String, Metadata)>,
    schema: SchemaRef,
}

impl Source for FilesSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn describe(&self) -> String {
        let format = self.config.format.map_or(String::new(), |format| format!(" ({})", format.name()));
        format!("files: {}{format}", self.config.location.path)
    }

    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        // On a thread of its own: this reads files, and the caller may be within a runtime.
        let open = || -> Result<Box<dyn SourceFeed>, EngineError> {
            let storage = Storage::connect(&self.config.location, &context.io)?;
            let listing = storage.list(self.config.format)?;
            if !context.watch && positions.is_empty() {
                check_not_empty(&self.config, &listing)?;
            }
            let (format, dialect) = format_of(&self.config, &listing)?;
            let reading = Reading {
                config: self.config.clone(),
                format,
                dialect,
                physical: self.physical.clone(),
                inferred: self.inferred,
                metadata: self.metadata.clone(),
            };
            Ok(Box::new(FilesFeed::open(Arc::new(reading), storage, listing, context.clone(), &positions)?))
        };
        on_thread(open)
    }
}

fn infer_columns(config: &Config) -> Result<SchemaRef, EngineError> {
    on_thread(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| EngineError::bug(format!("cannot start a runtime: {error}")))?;
        let storage = Storage::connect(&config.location, runtime.handle())?;
        let listing = storage.list(config.format)?;
        let (format, dialect) = format_of(config, &listing)?;
        infer(config, &storage, &listing, format, &dialect)
    })
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, EngineError> + Send) -> Result<T, EngineError> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(EngineError::bug("opening a files source panicked")))
}

/// `what is wrong; the next step`, apart.
fn split_hint(message: &str) -> (String, Option<String>) {
    match message.split_once("; ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (message.to_owned(), None),
    }
}
