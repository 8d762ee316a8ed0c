//! `hour(t)`, `year(t)` and the like: Flink's short forms of `EXTRACT`, as BIGINT, in UTC.
//!
//! Fields that only need the time of day are computed without a calendar: `hour` is in many hot queries.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{DatePart, cast, date_part};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// A function's name and what it takes from the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Field {
    name: &'static str,
    part: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Year,
    Quarter,
    Month,
    Week,
    DayOfYear,
    DayOfMonth,
    /// 1 is Sunday, as in Flink.
    DayOfWeek,
    Hour,
    Minute,
    Second,
}

pub(super) const FIELDS: [Field; 10] = [
    Field { name: "year", part: Part::Year },
    Field { name: "quarter", part: Part::Quarter },
    Field { name: "month", part: Part::Month },
    Field { name: "week", part: Part::Week },
    Field { name: "dayofyear", part: Part::DayOfYear },
    Field { name: "dayofmonth", part: Part::DayOfMonth },
    Field { name: "dayofweek", part: Part::DayOfWeek },
    Field { name: "hour", part: Part::Hour },
    Field { name: "minute", part: Part::Minute },
    Field { name: "second", part: Part::Second },
];

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct CalendarField {
    field: Field,
    signature: Signature,
}

impl CalendarField {
    pub(super) fn new(field: Field) -> Self {
        Self { field, signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CalendarField {
    fn name(&self) -> &str {
        self.field.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        match types {
            [DataType::Timestamp(_, zone)] => Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, zone.clone())]),
            [DataType::Null | DataType::Date32 | DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8] => {
                Ok(vec![timestamp])
            }
            [other] => {
                plan_err!("{}() takes a TIMESTAMP or DATE, not {}", self.field.name, crate::types::sql_name(other))
            }
            _ => plan_err!("{}() takes one argument", self.field.name),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        super::strings::over_arrays(args, |arrays| match arrays {
            [times] => self.field.part.of(times),
            _ => exec_err!("{}() takes one argument", self.field.name),
        })
    }
}

const SECOND_US: i64 = 1_000_000;

impl Part {
    fn of(self, times: &ArrayRef) -> Result<ArrayRef> {
        let of_day = |unit: i64, count: i64| -> Result<ArrayRef> {
            let micros = times.as_primitive::<TimestampMicrosecondType>();
            let field: Int64Array = micros.unary(|at| at.div_euclid(unit).rem_euclid(count));
            Ok(Arc::new(field))
        };
        let in_utc = match times.data_type() {
            DataType::Timestamp(_, zone) => {
                zone.as_ref().is_none_or(|zone| matches!(zone.as_ref(), "UTC" | "+00:00" | "Z"))
            }
            _ => false,
        };
        match self {
            Self::Hour if in_utc => of_day(3600 * SECOND_US, 24),
            Self::Minute if in_utc => of_day(60 * SECOND_US, 60),
            Self::Second if in_utc => of_day(SECOND_US, 60),
            Self::DayOfWeek => {
                let from_zero = cast(&date_part(times, DatePart::DayOfWeekSunday0)?, &DataType::Int64)?;
                let from_one: Int64Array = from_zero.as_primitive::<Int64Type>().unary(|day| day + 1);
                Ok(Arc::new(from_one))
            }
            other => Ok(cast(&date_part(times, other.arrow_part())?, &DataType::Int64)?),
        }
    }

    fn arrow_part(self) -> DatePart {
        match self {
            Self::Year => DatePart::Year,
            Self::Quarter => DatePart::Quarter,
            Self::Month => DatePart::Month,
            Self::Week => DatePart::Week,
            Self::DayOfYear => DatePart::DayOfYear,
            Self::DayOfMonth => DatePart::Day,
            Self::DayOfWeek => DatePart::DayOfWeekSunday0,
            Self::Hour => DatePart::Hour,
            Self::Minute => DatePart::Minute,
            Self::Second => DatePart::Second,
        }
    }
}
