//! Turns a corpus of JSON lines into Parquet: the same rows in the same order, one file per stream.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::exit::{Exit, Failure};

/// What was written for one stream.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
}

/// Rows of a row group: small enough that every worker finds one, large enough to compress.
const ROW_GROUP_ROWS: usize = 131_072;

/// Streams of a Nexmark corpus with their columns: T text, I integer; nothing is ever null.
const STREAMS: [(&str, &str); 3] = [
    ("person", "id:I name:T email_address:T credit_card:T city:T state:T date_time:I extra:T"),
    (
        "auction",
        "id:I item_name:T description:T initial_bid:I reserve:I date_time:I expires:I seller:I category:I extra:T",
    ),
    ("bid", "auction:I bidder:I price:I channel:T url:T date_time:I extra:T"),
];

/// Converts every stream that is there. Fails if none is.
pub fn to_parquet(folder: &Path) -> Result<Vec<Written>, Failure> {
    let mut written = Vec::new();
    for (name, columns) in STREAMS {
        let source = folder.join(format!("{name}.ndjson"));
        if source.exists() {
            written.push(convert(&source, &folder.join(format!("{name}.parquet")), schema(columns))?);
        }
    }
    if written.is_empty() {
        return Err(Failure::new(Exit::NotFound, format!("there is no bid.ndjson in {}", folder.display()))
            .hint("bench/peers/nexmark-corpus.sh makes a corpus"));
    }
    Ok(written)
}

fn schema(columns: &str) -> SchemaRef {
    let field = |column: &str| {
        let (name, kind) = column.split_once(':').expect("columns are name:kind");
        let data_type = if kind == "I" { DataType::Int64 } else { DataType::Utf8 };
        Field::new(name, data_type, false)
    };
    Arc::new(Schema::new(columns.split(' ').map(field).collect::<Vec<_>>()))
}

fn convert(from: &Path, to: &Path, schema: SchemaRef) -> Result<Written, Failure> {
    let input = File::open(from).map_err(|error| Failure::io(format!("open {}", from.display()), &error))?;
    let reader = arrow::json::ReaderBuilder::new(schema.clone())
        .with_batch_size(8192)
        .with_strict_mode(true)
        .build(BufReader::with_capacity(1 << 20, input))?;
    // Written beside and renamed, so that an interrupted conversion leaves no half file under the real name.
    let half = to.with_extension("parquet.part");
    let output = File::create(&half).map_err(|error| Failure::io(format!("write {}", half.display()), &error))?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(|error| refused(to, &error))?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(output, schema, Some(properties)).map_err(|error| refused(to, &error))?;
    let mut rows = 0;
    for batch in reader {
        let batch = batch
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot read {}", from.display())).cause(error))?;
        rows += batch.num_rows() as u64;
        writer.write(&batch).map_err(|error| refused(to, &error))?;
    }
    writer.close().map_err(|error| refused(to, &error))?;
    std::fs::rename(&half, to).map_err(|error| Failure::io(format!("write {}", to.display()), &error))?;
    let bytes = std::fs::metadata(to).map_err(|error| Failure::io(format!("read {}", to.display()), &error))?.len();
    Ok(Written { file: to.display().to_string(), rows, bytes })
}

fn refused(to: &Path, error: &parquet::errors::ParquetError) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}", to.display())).cause(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let row = r#"{"auction":1,"bidder":2,"price":3,"channel":"c","url":"u","date_time":4,"extra":"e"}"#;
        std::fs::write(folder.path().join("bid.ndjson"), format!("{row}\n{row}\n")).unwrap();
        let written = to_parquet(folder.path()).unwrap();
        assert_eq!((written.len(), written[0].rows), (1, 2));
        let file = File::open(folder.path().join("bid.parquet")).unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReader::try_new(file, 10).unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(crate::output::rows::json_lines(&batches).unwrap(), [row, row]);
    }

    #[test]
    fn an_empty_folder_is_not_found() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(to_parquet(folder.path()).unwrap_err().exit, Exit::NotFound);
    }
}
