//! The generator as a source.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use thalweg_engine::{EngineError, Source, SourceContext, SourceFeed, SplitPosition};

use super::config::{Config, resolve};
use super::feed::GeneratorFeed;
use super::schema::{Binding, bind};
use crate::registry::{OptionError, SourceRequest};

pub(crate) fn open(request: &SourceRequest) -> Result<Arc<dyn Source>, Vec<OptionError>> {
    let config = resolve(request)?;
    let binding = bind(config.kind, request.columns.as_ref())?;
    Ok(Arc::new(GeneratorSource { config, binding }))
}

#[derive(Debug)]
pub(crate) struct GeneratorSource {
    config: Config,
    binding: Binding,
}

impl Source for GeneratorSource {
    fn schema(&self) -> SchemaRef {
        self.binding.schema.clone()
    }

    fn describe(&self) -> String {
        let Config { kind, rows, rate, .. } = &self.config;
        let rows = rows.map_or("without end".to_owned(), |rows| format!("{rows} rows"));
        let rate = rate.map_or(String::new(), |rate| format!(", {rate} rows/s"));
        format!("generator: {} {}, {rows}{rate}", kind.world(), kind.name())
    }

    fn open(&self, context: SourceContext, positions: Vec<SplitPosition>) -> Result<Box<dyn SourceFeed>, EngineError> {
        Ok(Box::new(GeneratorFeed::open(self.config.clone(), self.binding.clone(), context, positions)?))
    }

    fn is_unbounded(&self) -> bool {
        self.config.rows.is_none()
    }
}
