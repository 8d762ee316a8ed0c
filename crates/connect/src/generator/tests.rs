//! The generator against the `nexmark` crate, and against itself in other pieces.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType};
use nexmark::EventGenerator;
use nexmark::config::NexmarkConfig;
use nexmark::event::{Event, EventType};
use thalweg_engine::{Claim, SourceContext, SourceFeed, SplitPosition, Waker};

use crate::registry::{SourceRequest, open_source};

#[derive(Debug, Default)]
struct Bell(std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>>);

impl Waker for Bell {
    fn wake(&self) {
        if let Some(bell) = &*self.0.lock().unwrap() {
            let _ = bell.send(());
        }
    }
}

fn request(options: &[(&str, &str)]) -> SourceRequest {
    SourceRequest {
        name: "s".into(),
        connector: "generator".into(),
        options: options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        columns: None,
        metadata: vec![],
        working_dir: ".".into(),
    }
}

fn context(io: &tokio::runtime::Runtime, batch_rows: usize, projection: Option<Vec<usize>>) -> SourceContext {
    SourceContext {
        watch: false,
        workers: 1,
        batch_rows,
        io: io.handle().clone(),
        wake: Arc::new(Bell::default()),
        projection,
        time_column: None,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn drain(feed: &mut dyn SourceFeed) -> Vec<RecordBatch> {
    let mut decoder = feed.decoder().unwrap();
    let mut batches = vec![];
    loop {
        match feed.claim().unwrap() {
            Claim::Chunk(chunk) => batches.extend(decoder.decode(chunk).unwrap().batches),
            Claim::Finished => return batches,
            Claim::Pending => panic!("nothing to wait for"),
        }
    }
}

fn rows(options: &[(&str, &str)], batch_rows: usize, projection: Option<Vec<usize>>) -> RecordBatch {
    let io = runtime();
    let source = open_source(&request(options)).unwrap();
    let mut feed = source.open(context(&io, batch_rows, projection), vec![]).unwrap();
    let batches = drain(&mut *feed);
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn number(batch: &RecordBatch, column: &str, row: usize) -> u64 {
    batch.column_by_name(column).unwrap().as_primitive::<Int64Type>().value(row) as u64
}

fn text<'a>(batch: &'a RecordBatch, column: &str, row: usize) -> &'a str {
    batch.column_by_name(column).unwrap().as_string::<i32>().value(row)
}

fn crate_events(kind: EventType, count: usize, first_rate: usize) -> Vec<Event> {
    let base_time = super::config::START_MS as u64;
    let config = NexmarkConfig { base_time, first_rate, next_rate: first_rate, ..Default::default() };
    EventGenerator::new(config).with_type_filter(kind).take(count).collect()
}

#[test]
fn bids_are_those_of_the_crate() {
    let made = rows(&[("events", "nexmark"), ("type", "bid"), ("rows", "20000")], 777, None);
    for (row, event) in crate_events(EventType::Bid, 20000, 10_000).into_iter().enumerate() {
        let Event::Bid(bid) = event else { panic!("a bid") };
        let numbers = ["auction", "bidder", "price", "date_time"].map(|column| number(&made, column, row));
        assert_eq!(numbers, [bid.auction as u64, bid.bidder as u64, bid.price as u64, bid.date_time], "row {row}");
        let texts = ["channel", "url", "extra"].map(|column| text(&made, column, row));
        assert_eq!(texts, [&*bid.channel, &*bid.url, &*bid.extra], "row {row}");
        let ts = made.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>().value(row);
        assert_eq!(ts, bid.date_time as i64 * 1000);
    }
}

#[test]
fn auctions_and_persons_are_those_of_the_crate() {
    let made = rows(&[("events", "nexmark"), ("type", "auction"), ("rows", "3000")], 512, None);
    for (row, event) in crate_events(EventType::Auction, 3000, 10_000).into_iter().enumerate() {
        let Event::Auction(a) = event else { panic!("an auction") };
        let columns = ["id", "initial_bid", "reserve", "date_time", "expires", "seller", "category"];
        let expect = [a.id, a.initial_bid, a.reserve, a.date_time as usize, a.expires as usize, a.seller, a.category];
        assert_eq!(columns.map(|column| number(&made, column, row) as usize), expect, "row {row}");
        let texts = ["item_name", "description", "extra"].map(|column| text(&made, column, row));
        assert_eq!(texts, [&*a.item_name, &*a.description, &*a.extra], "row {row}");
    }
    let made = rows(&[("events", "nexmark"), ("type", "person"), ("rows", "2000")], 512, None);
    for (row, event) in crate_events(EventType::Person, 2000, 10_000).into_iter().enumerate() {
        let Event::Person(p) = event else { panic!("a person") };
        assert_eq!([number(&made, "id", row), number(&made, "date_time", row)], [p.id as u64, p.date_time]);
        let columns = ["name", "email_address", "credit_card", "city", "state", "extra"];
        let expect = [&*p.name, &*p.email_address, &*p.credit_card, &*p.city, &*p.state, &*p.extra];
        assert_eq!(columns.map(|column| text(&made, column, row)), expect, "row {row}");
    }
}

#[test]
fn all_events_come_in_the_crates_order() {
    let made = rows(&[("events", "nexmark"), ("rows", "500")], 64, None);
    let config = NexmarkConfig { base_time: super::config::START_MS as u64, ..Default::default() };
    for (row, event) in EventGenerator::new(config).take(500).enumerate() {
        let place = |name: &str| made.column_by_name(name).unwrap().as_struct().clone();
        let id = |name: &str, field: &str| {
            place(name).column_by_name(field).unwrap().as_primitive::<Int64Type>().value(row) as usize
        };
        let nulls = ["person", "auction", "bid"].map(|name| place(name).is_null(row));
        match event {
            Event::Person(p) => assert_eq!((nulls, id("person", "id")), ([false, true, true], p.id)),
            Event::Auction(a) => assert_eq!((nulls, id("auction", "seller")), ([true, false, true], a.seller)),
            Event::Bid(b) => assert_eq!((nulls, id("bid", "price")), ([true, true, false], b.price)),
        }
        assert_eq!(number(&made, "date_time", row), event_time(&made, row));
    }
}

fn event_time(made: &RecordBatch, row: usize) -> u64 {
    (made.column_by_name("ts").unwrap().as_primitive::<TimestampMicrosecondType>().value(row) / 1000) as u64
}

const WORLDS: [(&str, &str); 7] = [
    ("nexmark", "all"),
    ("nexmark", "bid"),
    ("nexmark", "auction"),
    ("nexmark", "person"),
    ("rides", "requests"),
    ("rides", "drivers"),
    ("sensors", "readings"),
];

#[test]
fn rows_do_not_depend_on_pieces_or_projection_but_on_the_seed() {
    for (events, kind) in WORLDS {
        let options = [("events", events), ("type", kind), ("rows", "1000")];
        let whole = rows(&options, 1000, None);
        assert_eq!(whole, rows(&options, 7, None), "{events} {kind}");
        for column in 0..whole.num_columns() {
            let one = rows(&options, 100, Some(vec![column]));
            assert_eq!(one.column(0), whole.column(column), "{events} {kind} column {column}");
        }
        let other = rows(&[("events", events), ("type", kind), ("rows", "1000"), ("seed", "1")], 1000, None);
        assert_ne!(whole, other, "{events} {kind}");
        assert_eq!(rows(&options, 10, Some(vec![])).num_rows(), 1000, "rows without columns still count");
    }
}

#[test]
fn a_restored_feed_goes_on_where_it_stopped() {
    let io = runtime();
    let source = open_source(&request(&[("events", "rides"), ("rows", "1000")])).unwrap();
    let mut feed = source.open(context(&io, 10, None), vec![]).unwrap();
    let mut decoder = feed.decoder().unwrap();
    let mut batches = vec![];
    for _ in 0..37 {
        let Claim::Chunk(chunk) = feed.claim().unwrap() else { panic!("there is more") };
        batches.extend(decoder.decode(chunk).unwrap().batches);
    }
    let positions = feed.positions();
    let mut feed = source.open(context(&io, 33, None), positions).unwrap();
    batches.extend(drain(&mut *feed));
    assert!(feed.positions()[0].finished);
    let joined = arrow::compute::concat_batches(&source.schema(), &batches).unwrap();
    assert_eq!(joined, rows(&[("events", "rides"), ("rows", "1000")], 1000, None));
    let broken = SplitPosition { split: "events".into(), position: serde_json::json!({"n": 1}), finished: false };
    assert!(source.open(context(&io, 33, None), vec![broken]).err().unwrap().message.contains("--restart"));
}

#[test]
fn disorder_is_bounded_and_the_day_has_a_shape() {
    for (events, kind, column, bound) in
        [("rides", "requests", 5, 20), ("rides", "drivers", 3, 20), ("sensors", "readings", 5, 5)]
    {
        let made = rows(&[("events", events), ("type", kind), ("rows", "50000")], 5000, Some(vec![column]));
        let times = made.column(0).as_primitive::<TimestampMicrosecondType>();
        let mut highest = i64::MIN;
        let mut behind = 0;
        for &time in times.values() {
            highest = highest.max(time);
            behind = behind.max(highest - time);
        }
        assert!(behind > 0 && behind <= bound * 1_000_000, "{events} {kind}: {behind}");
    }
    let made = rows(&[("events", "rides"), ("rows", "200000")], 5000, Some(vec![5]));
    let mut per_hour = [0u32; 24];
    for &time in made.column(0).as_primitive::<TimestampMicrosecondType>().values() {
        per_hour[(time.rem_euclid(86_400_000_000) / 3_600_000_000) as usize] += 1;
    }
    assert!(per_hour[18] > 5 * per_hour[3], "{per_hour:?}");
    assert_eq!(per_hour.iter().sum::<u32>(), 200_000);
}

#[test]
fn sensors_have_outages() {
    let made = rows(&[("events", "sensors"), ("rows", "400000")], 5000, None);
    let ids = made.column(0).as_string::<i32>();
    let times = made.column(5).as_primitive::<TimestampMicrosecondType>();
    let mut last = std::collections::HashMap::new();
    let gaps = ids.iter().zip(times.values()).filter(|(id, time)| {
        let before = last.insert(id.unwrap().to_owned(), **time);
        before.is_some_and(|before| **time - before > 1_800_000_000)
    });
    assert!(gaps.count() > 5);
    let temperatures = made.column(2).as_primitive::<Float64Type>();
    assert!(temperatures.values().iter().all(|value| (0.0..35.0).contains(value)));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a rate is measured by the clock")]
fn a_rate_hands_rows_out_by_the_clock() {
    let io = runtime();
    let source = open_source(&request(&[("events", "nexmark"), ("type", "bid"), ("rate", "1000"), ("rows", "100")]));
    let (bell, rung) = std::sync::mpsc::channel();
    let mut context = context(&io, 8192, None);
    context.wake = Arc::new(Bell(std::sync::Mutex::new(Some(bell))));
    let started = std::time::Instant::now();
    let mut feed = source.unwrap().open(context, vec![]).unwrap();
    let mut decoder = feed.decoder().unwrap();
    let mut times = vec![];
    loop {
        match feed.claim().unwrap() {
            Claim::Chunk(chunk) => {
                let batch = decoder.decode(chunk).unwrap().batches.remove(0);
                times.extend((0..batch.num_rows()).map(|row| number(&batch, "date_time", row)));
            }
            Claim::Pending => rung.recv_timeout(std::time::Duration::from_secs(10)).unwrap(),
            Claim::Finished => break,
        }
    }
    assert!(started.elapsed() >= std::time::Duration::from_millis(95), "100 rows at 1000/s take 100 ms");
    assert!((98..=101).contains(&(times[99] - times[0])), "event time goes with the rate: {times:?}");
}

#[test]
fn declared_columns_are_bound() {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut wanted = request(&[("events", "nexmark"), ("type", "bid"), ("rows", "3")]);
    wanted.columns = Some(Arc::new(Schema::new(vec![
        field("price", DataType::Int64),
        field("date_time", utc.clone()),
        field("ts", utc.clone()),
    ])));
    let io = runtime();
    let mut feed = open_source(&wanted).unwrap().open(context(&io, 10, None), vec![]).unwrap();
    let batch = drain(&mut *feed).remove(0);
    assert_eq!(batch.column(1), batch.column(2));
    assert_eq!(batch.column(1).data_type(), &utc);

    wanted.columns = Some(Arc::new(Schema::new(vec![field("prize", DataType::Int64), field("url", DataType::Int64)])));
    let errors = open_source(&wanted).unwrap_err();
    assert_eq!(errors[0].message, "nexmark 'bid' events have no column prize");
    assert_eq!(errors[0].hint.as_deref(), Some("did you mean 'price'?"));
    assert_eq!(errors[1].message, "column url is declared as Int64, but the generator makes Utf8");
}

#[test]
fn wrong_options_are_told() {
    let wrong = [("events", "rides"), ("type", "bid"), ("rate", "0"), ("start_time", "noon")];
    let messages: Vec<String> = open_source(&request(&wrong)).unwrap_err().into_iter().map(|e| e.message).collect();
    assert_eq!(
        messages,
        [
            "option 'type' cannot be 'bid' here",
            "option 'rate' cannot be 0",
            "option 'start_time': 'noon' is not a time",
        ]
    );
}
