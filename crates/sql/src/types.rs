//! SQL types and the Arrow types that stand for them, in declared columns and in casts alike.
//!
//! | SQL | Arrow |
//! | --- | --- |
//! | `BOOLEAN`, `BOOL` | Boolean |
//! | `TINYINT`, `SMALLINT`/`INT2`, `INT`/`INTEGER`/`INT4`, `BIGINT`/`INT8` | Int8, Int16, Int32, Int64 |
//! | the same with `UNSIGNED` | UInt8, UInt16, UInt32, UInt64 |
//! | `REAL`/`FLOAT4`, `DOUBLE [PRECISION]`/`FLOAT`/`FLOAT8` | Float32, Float64 |
//! | `DECIMAL(p, s)`/`NUMERIC(p, s)` (bare: 38, 10) | Decimal128 |
//! | `TEXT`/`VARCHAR`/`CHAR`/`STRING`, with or without a length (not enforced) | Utf8 |
//! | `JSON`/`JSONB` (text of a JSON value) | Utf8 |
//! | `UUID` (its text) | Utf8 |
//! | `BYTEA`/`BYTES`/`BINARY`/`VARBINARY` | Binary |
//! | `DATE`, `TIME` | Date32, Time64(Microsecond) |
//! | `TIMESTAMP [WITHOUT TIME ZONE]`, `DATETIME` | Timestamp(Microsecond) |
//! | `TIMESTAMP WITH TIME ZONE`, `TIMESTAMPTZ`, `TIMESTAMP_LTZ` | Timestamp(Microsecond, UTC) |
//! | `INTERVAL` | Interval(MonthDayNano) |
//! | `T[]`, `ARRAY<T>` | List |
//! | `ROW(a T, ...)`, `ROW<...>`, `STRUCT<...>` | Struct |
//! | `MAP<K, V>` | Map |
//!
//! The precision of a timestamp (`TIMESTAMP(3)`) is accepted up to 6 and not enforced: values keep microseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, IntervalUnit, TimeUnit};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType as SqlType, ExactNumberInfo, ObjectName, TimezoneInfo,
};

use crate::suggest;

/// Why a type cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeError {
    pub message: String,
    pub hint: Option<String>,
}

impl TypeError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

/// The Arrow type of a declared SQL type.
pub fn arrow_type(sql_type: &SqlType) -> std::result::Result<DataType, TypeError> {
    if let Some(scalar) = scalar_type(sql_type) {
        return Ok(scalar);
    }
    match sql_type {
        SqlType::Decimal(info) | SqlType::Numeric(info) | SqlType::Dec(info) => decimal_type(info),
        SqlType::Timestamp(precision, zone) => timestamp_type(*precision, is_zoned(zone)),
        SqlType::TimestampNtz(precision) | SqlType::Datetime(precision) => timestamp_type(*precision, false),
        SqlType::Time(precision, zone) if !is_zoned(zone) => {
            timestamp_type(*precision, false).map(|_| DataType::Time64(TimeUnit::Microsecond))
        }
        SqlType::Time(..) => {
            Err(TypeError::new("TIME WITH TIME ZONE is not supported", "use TIME or TIMESTAMP WITH TIME ZONE"))
        }
        SqlType::Interval { .. } => Ok(DataType::Interval(IntervalUnit::MonthDayNano)),
        SqlType::Array(element) => list_type(element),
        SqlType::Struct(fields, _) => {
            let fields: std::result::Result<Vec<FieldRef>, TypeError> = fields.iter().map(struct_field).collect();
            Ok(DataType::Struct(Fields::from(fields?)))
        }
        SqlType::Map(key, value) => map_type(key, value),
        SqlType::Custom(name, modifiers) => custom_type(name, modifiers),
        other => Err(unknown_type(&other.to_string())),
    }
}

fn scalar_type(sql_type: &SqlType) -> Option<DataType> {
    Some(match sql_type {
        SqlType::Boolean | SqlType::Bool => DataType::Boolean,
        SqlType::TinyInt(_) => DataType::Int8,
        SqlType::SmallInt(_) | SqlType::Int2(_) | SqlType::Int16 => DataType::Int16,
        SqlType::Int(_) | SqlType::Integer(_) | SqlType::Int4(_) | SqlType::MediumInt(_) | SqlType::Int32 => {
            DataType::Int32
        }
        SqlType::BigInt(_) | SqlType::Int8(_) | SqlType::Int64 => DataType::Int64,
        SqlType::TinyIntUnsigned(_) | SqlType::UTinyInt | SqlType::UInt8 => DataType::UInt8,
        SqlType::SmallIntUnsigned(_) | SqlType::Int2Unsigned(_) | SqlType::USmallInt | SqlType::UInt16 => {
            DataType::UInt16
        }
        SqlType::IntUnsigned(_) | SqlType::IntegerUnsigned(_) | SqlType::Int4Unsigned(_) | SqlType::UInt32 => {
            DataType::UInt32
        }
        SqlType::BigIntUnsigned(_) | SqlType::Int8Unsigned(_) | SqlType::UBigInt | SqlType::UInt64 => DataType::UInt64,
        SqlType::Real | SqlType::Float4 | SqlType::Float32 => DataType::Float32,
        SqlType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => DataType::Float32,
        SqlType::Float(_) | SqlType::Float8 | SqlType::Float64 | SqlType::Double(_) | SqlType::DoublePrecision => {
            DataType::Float64
        }
        SqlType::Text
        | SqlType::String(_)
        | SqlType::Varchar(_)
        | SqlType::Nvarchar(_)
        | SqlType::Char(_)
        | SqlType::Character(_)
        | SqlType::CharVarying(_)
        | SqlType::CharacterVarying(_)
        | SqlType::Clob(_)
        | SqlType::JSON
        | SqlType::JSONB
        | SqlType::Uuid => DataType::Utf8,
        SqlType::Bytea | SqlType::Bytes(_) | SqlType::Binary(_) | SqlType::Varbinary(_) | SqlType::Blob(_) => {
            DataType::Binary
        }
        SqlType::Date | SqlType::Date32 => DataType::Date32,
        _ => return None,
    })
}

fn decimal_type(info: &ExactNumberInfo) -> std::result::Result<DataType, TypeError> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    let valid = (1..=38).contains(&precision) && (0..=precision as i64).contains(&scale);
    if !valid {
        let message = format!("DECIMAL({precision}, {scale}) does not exist");
        return Err(TypeError::new(message, "the precision is 1 to 38, the scale 0 to the precision"));
    }
    Ok(DataType::Decimal128(precision as u8, scale as i8))
}

fn is_zoned(zone: &TimezoneInfo) -> bool {
    matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz)
}

/// Event time everywhere has microseconds.
fn timestamp_type(precision: Option<u64>, zoned: bool) -> std::result::Result<DataType, TypeError> {
    if let Some(precision) = precision.filter(|precision| *precision > 6) {
        let message = format!("a precision of {precision} digits is not supported");
        return Err(TypeError::new(message, "times have microseconds: at most 6 digits"));
    }
    Ok(DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| "UTC".into())))
}

fn list_type(element: &ArrayElemTypeDef) -> std::result::Result<DataType, TypeError> {
    let element = match element {
        ArrayElemTypeDef::None => {
            return Err(TypeError::new("ARRAY needs the type of its elements", "write BIGINT[] or ARRAY<BIGINT>"));
        }
        ArrayElemTypeDef::AngleBracket(element)
        | ArrayElemTypeDef::SquareBracket(element, _)
        | ArrayElemTypeDef::Parenthesis(element) => element,
    };
    Ok(DataType::List(Arc::new(Field::new_list_field(arrow_type(element)?, true))))
}

fn struct_field(field: &datafusion::sql::sqlparser::ast::StructField) -> std::result::Result<FieldRef, TypeError> {
    let Some(name) = &field.field_name else {
        return Err(TypeError::new("every field of a ROW needs a name", "write ROW(a BIGINT, b TEXT)"));
    };
    Ok(Arc::new(Field::new(crate::statement::fold(name), arrow_type(&field.field_type)?, true)))
}

fn map_type(key: &SqlType, value: &SqlType) -> std::result::Result<DataType, TypeError> {
    let key = Field::new("keys", arrow_type(key)?, false);
    let value = Field::new("values", arrow_type(value)?, true);
    let entries = Field::new("entries", DataType::Struct(Fields::from(vec![key, value])), false);
    Ok(DataType::Map(Arc::new(entries), false))
}

/// Types that the parser has no word for.
fn custom_type(name: &ObjectName, modifiers: &[String]) -> std::result::Result<DataType, TypeError> {
    let precision = modifiers.first().and_then(|digits| digits.parse().ok());
    match name.to_string().to_lowercase().as_str() {
        "timestamp_ltz" | "timestamptz" => timestamp_type(precision, true),
        "timestamp_ntz" => timestamp_type(precision, false),
        "bytes" => Ok(DataType::Binary),
        "string" => Ok(DataType::Utf8),
        "utinyint" => Ok(DataType::UInt8),
        "usmallint" => Ok(DataType::UInt16),
        "uint" | "uinteger" => Ok(DataType::UInt32),
        "ubigint" => Ok(DataType::UInt64),
        other => Err(unknown_type(other)),
    }
}

fn unknown_type(name: &str) -> TypeError {
    const KNOWN: [&str; 24] = [
        "boolean",
        "tinyint",
        "smallint",
        "int",
        "integer",
        "bigint",
        "real",
        "float",
        "double",
        "decimal",
        "numeric",
        "text",
        "varchar",
        "string",
        "json",
        "uuid",
        "bytea",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "interval",
        "array",
        "row",
    ];
    let hint = match suggest::nearest(name, KNOWN) {
        Some(near) => format!("did you mean {}?", near.to_uppercase()),
        None => "types are BOOLEAN, SMALLINT, INT, BIGINT, REAL, DOUBLE, DECIMAL(p, s), TEXT, BYTEA, DATE, TIME, TIMESTAMP, \
                 TIMESTAMP WITH TIME ZONE, JSON, T[], ROW(...), MAP<k, v>"
            .to_string(),
    };
    TypeError::new(format!("unknown type {}", name.to_uppercase()), hint)
}

/// How a type is written in messages.
pub fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::UInt8 => "TINYINT UNSIGNED".into(),
        DataType::UInt16 => "SMALLINT UNSIGNED".into(),
        DataType::UInt32 => "INT UNSIGNED".into(),
        DataType::UInt64 => "BIGINT UNSIGNED".into(),
        DataType::Float32 => "REAL".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BYTEA".into(),
        DataType::Date32 => "DATE".into(),
        DataType::Time64(_) | DataType::Time32(_) => "TIME".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE".into(),
        DataType::Interval(_) => "INTERVAL".into(),
        DataType::List(element) => format!("{}[]", sql_name(element.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_name(field.data_type()))).collect();
            format!("ROW({})", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Gives casts in queries the same types as declared columns.
#[derive(Debug)]
pub(crate) struct CastTypes;

impl TypePlanner for CastTypes {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        match arrow_type(sql_type) {
            Ok(data_type) => Ok(Some(Arc::new(Field::new("", data_type, true)))),
            Err(error) => {
                let hint = error.hint.map(|hint| format!("\n{hint}")).unwrap_or_default();
                Err(DataFusionError::Plan(format!("{}{hint}", error.message)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::sql::sqlparser::parser::Parser;

    fn arrow_of(sql: &str) -> String {
        let mut parser = Parser::new(&crate::dialect::ThalwegDialect).try_with_sql(sql).expect("tokens");
        match arrow_type(&parser.parse_data_type().expect("a type")) {
            Ok(data_type) => data_type.to_string(),
            Err(error) => format!("error: {}; {}", error.message, error.hint.unwrap_or_default()),
        }
    }

    #[test]
    fn maps_types() {
        for (sql, expect) in [
            ("TEXT", "Utf8"),
            ("VARCHAR(20)", "Utf8"),
            ("STRING", "Utf8"),
            ("JSONB", "Utf8"),
            ("INT", "Int32"),
            ("int8", "Int64"),
            ("BIGINT UNSIGNED", "UInt64"),
            ("REAL", "Float32"),
            ("FLOAT", "Float64"),
            ("DOUBLE", "Float64"),
            ("DOUBLE PRECISION", "Float64"),
            ("DECIMAL(10,2)", "Decimal128(10, 2)"),
            ("NUMERIC", "Decimal128(38, 10)"),
            (
                "DECIMAL(39,2)",
                "error: DECIMAL(39, 2) does not exist; the precision is 1 to 38, the scale 0 to the precision",
            ),
            ("BYTEA", "Binary"),
            ("DATE", "Date32"),
            ("TIME", "Time64(µs)"),
            ("TIMESTAMP", "Timestamp(µs)"),
            ("TIMESTAMP(3)", "Timestamp(µs)"),
            (
                "TIMESTAMP(9)",
                "error: a precision of 9 digits is not supported; times have microseconds: at most 6 digits",
            ),
            ("TIMESTAMP WITH TIME ZONE", "Timestamp(µs, \"UTC\")"),
            ("TIMESTAMPTZ", "Timestamp(µs, \"UTC\")"),
            ("TIMESTAMP_LTZ(3)", "Timestamp(µs, \"UTC\")"),
            ("BIGINT[]", "List(Int64)"),
            ("BIGNIT", "error: unknown type BIGNIT; did you mean BIGINT?"),
        ] {
            assert_eq!(arrow_of(sql), expect, "{sql}");
        }
    }
}
