//! Persons: 1 of 50 events.

use std::io::Write;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::{Auctioneer, Part, numbers, times};
use crate::generator::config::Config;
use crate::generator::kind::{Rows, bigint, text};
use crate::generator::text::Text;

const ID: usize = 0;
const DATE_TIME: usize = 6;
const TS: usize = 8;

pub(crate) fn fields() -> Vec<Field> {
    vec![
        bigint("id"),
        text("name"),
        text("email_address"),
        text("credit_card"),
        text("city"),
        text("state"),
        bigint("date_time"),
        text("extra"),
    ]
}

pub(crate) struct Persons(Auctioneer);

impl Persons {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Auctioneer::new(config, Some(Part::Person)))
    }
}

impl Rows for Persons {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let world = &self.0;
        make(world, &world.event_numbers(Part::Person, first, count), columns)
    }
}

/// Columns of the persons with these event numbers.
pub(super) fn make(world: &Auctioneer, events: &[u64], columns: &[usize]) -> Vec<ArrayRef> {
    let rows = events.len();
    // name, email_address, credit_card, city, state, extra
    let mut texts: [Option<Text>; 6] = std::array::from_fn(|_| Some(Text::with_capacity(rows, 24)));
    for &event in events {
        draw(world, event, &mut texts);
    }
    let mut text = |index: usize| texts[index].take().expect("a column is asked for once").finish();
    let column = |&column: &usize| match column {
        ID => {
            let id = |&event| (world.last_person(event) + world.config.first_person_id as u64) as i64;
            numbers(events.iter().map(id).collect())
        }
        DATE_TIME => numbers(events.iter().map(|&event| world.time_ms(event) as i64).collect()),
        TS => times(events.iter().map(|&event| world.time_ms(event))),
        7 => text(5),
        1..=5 => text(column - 1),
        _ => unreachable!("persons have nine columns"),
    };
    columns.iter().map(column).collect()
}

fn draw(world: &Auctioneer, event: u64, texts: &mut [Option<Text>; 6]) {
    let config = &world.config;
    let rng = &mut world.rng(event);
    let mut size = 8;
    let mut end = |text: &mut Option<Text>, write: &mut dyn FnMut(&mut Vec<u8>)| {
        let text = text.as_mut().expect("taken only at the end");
        let before = text.bytes.len();
        write(&mut text.bytes);
        size += text.bytes.len() - before;
        text.end_value();
    };
    let [name, email, card, city, state, extra] = texts;
    end(name, &mut |out| {
        let first = &config.first_names[rng.below_u32(config.first_names.len() as u32) as usize];
        let last = &config.last_names[rng.below_u32(config.last_names.len() as u32) as usize];
        out.extend_from_slice(first.as_bytes());
        out.push(b' ');
        out.extend_from_slice(last.as_bytes());
    });
    end(email, &mut |out| {
        rng.letters(7, out);
        out.push(b'@');
        rng.letters(5, out);
        out.extend_from_slice(b".com");
    });
    end(card, &mut |out| {
        let mut part = || rng.below_u32(10_000);
        let (a, b, c, d) = (part(), part(), part(), part());
        write!(out, "{a:04} {b:04} {c:04} {d:04}").expect("writing to memory");
    });
    for (column, choices) in [(city, &config.us_cities), (state, &config.us_states)] {
        end(column, &mut |out| {
            out.extend_from_slice(choices[rng.below_u32(choices.len() as u32) as usize].as_bytes());
        });
    }
    let length = Auctioneer::extra_length(size, config.avg_person_byte_size, rng);
    let extra = extra.as_mut().expect("taken only at the end");
    rng.letters(length, &mut extra.bytes);
    extra.end_value();
}
