#![allow(clippy::cloned_ref_to_slice_refs)]

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, IntervalMonthDayNano, TimeUnit, i256};
use proptest::prelude::*;

use super::*;

fn hashes(columns: &[ArrayRef]) -> Vec<u64> {
    let mut hashes = vec![7];
    key_hashes(columns, columns[0].len(), &mut hashes).unwrap();
    hashes
}

fn one(column: impl Array + 'static) -> Vec<u64> {
    hashes(&[Arc::new(column)])
}

#[track_caller]
fn check_bytes(column: impl Array + 'static, row: usize, expect: &str) {
    let mut key = Vec::new();
    encode::encoder(&column).unwrap().encode(row, &mut key).unwrap();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expect.replace(' ', ""));
}

/// The documented bytes, type by type.
#[test]
fn bytes_are_as_documented() {
    check_bytes(NullArray::new(1), 0, "00");
    check_bytes(Int32Array::from(vec![None]), 0, "00");
    check_bytes(BooleanArray::from(vec![false, true]), 0, "01");
    check_bytes(BooleanArray::from(vec![false, true]), 1, "02");
    check_bytes(Int8Array::from(vec![-2]), 0, "03 feffffffffffffff");
    check_bytes(UInt64Array::from(vec![u64::MAX]), 0, "04 ffffffffffffffff");
    check_bytes(Float32Array::from(vec![1.5]), 0, "05 000000000000f83f");
    check_bytes(Float64Array::from(vec![-0.0, -f64::NAN]), 0, "05 0000000000000000");
    check_bytes(Float64Array::from(vec![-0.0, -f64::NAN]), 1, "05 000000000000f87f");
    let decimal = Decimal128Array::from(vec![1500]).with_precision_and_scale(10, 2).unwrap();
    check_bytes(decimal, 0, "06 00 0f000000000000000000000000000000");
    let wide = Decimal256Array::from(vec![i256::from_parts(1, 1)]).with_precision_and_scale(76, 3).unwrap();
    check_bytes(wide, 0, &format!("07 03 01{:030} 01{:030}", 0, 0));
    check_bytes(StringArray::from(vec!["ab"]), 0, "08 02000000 6162");
    check_bytes(BinaryArray::from(vec![&b"ab"[..]]), 0, "09 02000000 6162");
    check_bytes(Date32Array::from(vec![1]), 0, "0a 005c260500000000");
    check_bytes(TimestampMicrosecondArray::from(vec![-1]), 0, "0b ffffffffffffffff 18c69a3b");
    check_bytes(Time32SecondArray::from(vec![1]), 0, "0c 00ca9a3b00000000");
    check_bytes(DurationMillisecondArray::from(vec![1001]), 0, "0d 0100000000000000 40420f00");
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3)]);
    check_bytes(interval, 0, "0e 01000000 02000000 0300000000000000");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    check_bytes(list, 0, "0f 02000000 03 0100000000000000 00");
    let fields = Fields::from(vec![Field::new("a", DataType::Boolean, true), Field::new("b", DataType::Utf8, true)]);
    let a: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
    let b: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    check_bytes(StructArray::new(fields, vec![a, b], None), 0, "10 02000000 02 08 01000000 78");
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    map.keys().append_value("k");
    map.values().append_null();
    map.append(true).unwrap();
    check_bytes(map.finish(), 0, "11 01000000 08 01000000 6b 00");
}

/// These stand in the vnodes of every state file: if one changes, restored state lies on the wrong workers.
#[test]
fn hashes_never_change() {
    let mut empty = Vec::new();
    key_hashes(&[], 2, &mut empty).unwrap();
    assert_eq!(empty, [0x2d06_8005_38d3_94c2; 2]);
    assert_eq!(one(Int64Array::from(vec![Some(0), Some(1), Some(-1), None])), GOLDEN_INTEGERS);
    assert_eq!(one(StringArray::from(vec!["", "ATL", &"x".repeat(300)])), GOLDEN_TEXTS);
    let pair: [ArrayRef; 2] = [Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![2]))];
    assert_eq!(hashes(&pair), GOLDEN_PAIR);
    let mixed: [ArrayRef; 3] = [
        Arc::new(StringArray::from(vec!["ATL"])),
        Arc::new(Float64Array::from(vec![0.1])),
        Arc::new(TimestampMicrosecondArray::from(vec![1_700_000_000_000_000])),
    ];
    assert_eq!(hashes(&mixed), GOLDEN_MIXED);
}

// Computed by another implementation of xxh3 from the documented bytes.
const GOLDEN_INTEGERS: [u64; 4] =
    [0xd1d3_0c5e_8136_b99d, 0xa2a2_7a2a_65b0_9a01, 0x461f_577b_67b4_5767, 0xc44b_dff4_074e_ecdb];
const GOLDEN_TEXTS: [u64; 3] = [0x3a60_02fc_b0b2_f85d, 0x7dd4_7fdb_4f93_6653, 0xd0fc_fb40_14fb_6ac0];
const GOLDEN_PAIR: [u64; 1] = [0xffc2_1a64_f35a_6289];
const GOLDEN_MIXED: [u64; 1] = [0x45bf_68a9_ef5c_6760];

#[test]
fn equal_numbers_in_other_types_are_other_keys() {
    let mut all = one(Int64Array::from(vec![1]));
    all.extend(one(Float64Array::from(vec![1.0])));
    all.extend(one(Decimal128Array::from(vec![1]).with_precision_and_scale(5, 0).unwrap()));
    all.extend(one(StringArray::from(vec!["1"])));
    all.extend(one(BinaryArray::from(vec![&b"1"[..]])));
    all.extend(one(BooleanArray::from(vec![true])));
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn columns_cannot_run_into_each_other() {
    let columns = |first: &str, second: &str| -> [ArrayRef; 2] {
        [Arc::new(StringArray::from(vec![first])), Arc::new(StringArray::from(vec![second]))]
    };
    assert_ne!(hashes(&columns("ab", "c")), hashes(&columns("a", "bc")));
    assert_ne!(hashes(&columns("", "a")), hashes(&columns("a", "")));
}

#[test]
fn unions_are_refused_by_name() {
    let fields = [(0, Arc::new(Field::new("i", DataType::Int32, false)))].into_iter().collect();
    let child: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let union = UnionArray::try_new(fields, ScalarBuffer::from(vec![0i8]), None, vec![child]).unwrap();
    let error = key_hashes(&[Arc::new(union)], 1, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("Union") && error.to_string().contains("cast"), "{error}");
}

#[test]
fn only_the_rows_asked_for_are_hashed() {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let mut two = Vec::new();
    key_hashes(&[column.clone()], 2, &mut two).unwrap();
    assert_eq!(two, hashes(&[column])[..2]);
}

fn texts() -> impl Strategy<Value = Vec<Option<String>>> {
    let text = prop_oneof![".{0,20}", "[a-c]{0,3}", ".{100,140}"];
    proptest::collection::vec(proptest::option::weighted(0.8, text), 0..40)
}

fn integers() -> impl Strategy<Value = Vec<Option<i64>>> {
    let integer = prop_oneof![any::<i64>(), -5i64..5, Just(i64::MIN), Just(i64::MAX)];
    proptest::collection::vec(proptest::option::weighted(0.8, integer), 0..40)
}

fn general(columns: &[ArrayRef], rows: usize) -> Vec<u64> {
    let mut hashes = Vec::new();
    general_key_hashes(columns, rows, &mut hashes).unwrap();
    hashes
}

fn run_end_encoded(values: ArrayRef) -> ArrayRef {
    let ends = Int32Array::from_iter_values(1..=values.len() as i32);
    Arc::new(RunArray::<Int32Type>::try_new(&ends, &values).unwrap())
}

/// One list per value, the value twice.
fn in_lists(values: &ArrayRef) -> (ArrayRef, ArrayRef) {
    let indices = UInt32Array::from_iter_values((0..values.len() as u32).flat_map(|row| [row, row]));
    let twice = arrow::compute::take(values, &indices, None).unwrap();
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(2, values.len()));
    let list = ListArray::new(field.clone(), offsets, twice.clone(), None);
    (Arc::new(list), Arc::new(FixedSizeListArray::new(field, 2, twice, None)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn text_is_equal_in_every_representation(texts in texts()) {
        let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let expect = hashes(&[plain.clone()]);
        let dictionary = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        for other in [DataType::LargeUtf8, DataType::Utf8View, dictionary] {
            prop_assert_eq!(&hashes(&[cast(&plain, &other).unwrap()]), &expect, "{}", other);
        }
        if !texts.is_empty() {
            prop_assert_eq!(&hashes(&[run_end_encoded(plain.clone())]), &expect);
        }
        prop_assert_eq!(general(&[plain.clone()], plain.len()), expect);
        for (a, left) in texts.iter().enumerate() {
            for (b, right) in texts.iter().enumerate() {
                prop_assert_eq!(left == right, expect_at(&plain, a) == expect_at(&plain, b));
            }
        }
    }

    #[test]
    fn integers_are_equal_in_every_width(small in proptest::collection::vec(proptest::option::of(0i8..=127), 0..40)) {
        let plain: ArrayRef = Arc::new(Int8Array::from(small));
        let expect = hashes(&[plain.clone()]);
        use DataType::{Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
        for other in [Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64] {
            prop_assert_eq!(&hashes(&[cast(&plain, &other).unwrap()]), &expect, "{}", other);
        }
    }

    #[test]
    fn fast_paths_agree_with_the_general_one(pairs in integers(), texts in texts()) {
        let rows = pairs.len();
        let first: ArrayRef = Arc::new(Int64Array::from(pairs.clone()));
        let second: ArrayRef = Arc::new(Int64Array::from_iter_values(pairs.iter().map(|value| value.unwrap_or(9) ^ 5)));
        for columns in [vec![first.clone()], vec![second.clone()], vec![second.clone(), second.clone()], vec![first, second]] {
            prop_assert_eq!(hashes(&columns), general(&columns, rows));
        }
        let large: ArrayRef = Arc::new(LargeStringArray::from(texts));
        prop_assert_eq!(hashes(&[large.clone()]), general(&[large.clone()], large.len()));
    }

    #[test]
    fn decimals_are_equal_in_every_scale_and_width(values in proptest::collection::vec(-99_999i64..=99_999, 1..20)) {
        let narrow = |precision, scale| {
            Decimal128Array::from_iter_values(values.iter().map(|value| i128::from(*value))).with_precision_and_scale(precision, scale).unwrap()
        };
        let plain: ArrayRef = Arc::new(narrow(9, 2));
        let expect = hashes(&[plain.clone()]);
        use DataType::{Decimal32, Decimal64, Decimal128, Decimal256};
        for other in [Decimal32(9, 2), Decimal64(18, 5), Decimal128(38, 10), Decimal256(76, 40)] {
            prop_assert_eq!(&hashes(&[cast(&plain, &other).unwrap()]), &expect, "{}", other);
        }
    }

    #[test]
    fn instants_are_equal_in_every_unit_and_zone(seconds in proptest::collection::vec(-9_000_000_000i64..9_000_000_000, 1..20)) {
        let plain: ArrayRef = Arc::new(TimestampSecondArray::from(seconds));
        let expect = hashes(&[plain.clone()]);
        for unit in [TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            let other = cast(&plain, &DataType::Timestamp(unit, None)).unwrap();
            prop_assert_eq!(&hashes(&[other]), &expect);
        }
        let zoned = TimestampSecondArray::with_timezone(plain.as_primitive::<arrow::datatypes::TimestampSecondType>().clone(), "+02:00");
        prop_assert_eq!(hashes(&[Arc::new(zoned)]), expect);
    }

    #[test]
    fn slices_and_nesting_keep_the_value(texts in texts(), from in 0usize..5) {
        let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let from = from.min(texts.len());
        let view = cast(&plain, &DataType::Utf8View).unwrap();
        for column in [plain.clone(), view.clone()] {
            let slice = column.slice(from, texts.len() - from);
            prop_assert_eq!(&hashes(&[slice]), &hashes(&[column.clone()])[from..]);
        }
        let (list, fixed) = in_lists(&plain);
        let (view_list, _) = in_lists(&view);
        let expect = hashes(&[list.clone()]);
        let large = DataType::LargeList(Arc::new(Field::new("item", DataType::LargeUtf8, true)));
        let views = DataType::ListView(Arc::new(Field::new("item", DataType::Utf8, true)));
        let mut others = vec![fixed, view_list, cast(&list, &large).unwrap()];
        others.extend(cast(&list, &views));
        for other in others {
            prop_assert_eq!(&hashes(&[other.clone()]), &expect);
            let slice = other.slice(from, texts.len() - from);
            prop_assert_eq!(&hashes(&[slice]), &expect[from..]);
        }
        let wrap = |column: ArrayRef| -> ArrayRef {
            let fields = Fields::from(vec![Field::new("f", column.data_type().clone(), true)]);
            Arc::new(StructArray::new(fields, vec![column], None))
        };
        prop_assert_eq!(hashes(&[wrap(plain)]), hashes(&[wrap(view)]));
    }

    #[test]
    fn keys_do_not_depend_on_the_batch(integers in integers(), texts in texts(), cut in 0usize..40) {
        let rows = integers.len().min(texts.len());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(integers[..rows].to_vec())),
            Arc::new(StringArray::from(texts[..rows].to_vec())),
        ];
        let cut = cut.min(rows);
        let part = |from: usize, to: usize| hashes(&columns.iter().map(|column| column.slice(from, to - from)).collect::<Vec<_>>());
        prop_assert_eq!([part(0, cut), part(cut, rows)].concat(), hashes(&columns));
    }
}

fn expect_at(column: &ArrayRef, row: usize) -> u64 {
    let alone = concat(&[column.slice(row, 1).as_ref()]).unwrap();
    hashes(&[alone])[0]
}
