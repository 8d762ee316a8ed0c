//! Auctions: 3 of 50 events.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::{Auctioneer, HOT_RATIO, Part, numbers, times};
use crate::generator::config::Config;
use crate::generator::kind::{Rows, bigint, text};
use crate::generator::text::Text;

/// Columns, in order: `id` .. `extra`, then `ts`.
const NUMBERS: [usize; 7] = [0, 3, 4, 5, 6, 7, 8];
const ITEM_NAME: usize = 1;
const DESCRIPTION: usize = 2;
const EXTRA: usize = 9;
const TS: usize = 10;

pub(crate) fn fields() -> Vec<Field> {
    vec![
        bigint("id"),
        text("item_name"),
        text("description"),
        bigint("initial_bid"),
        bigint("reserve"),
        bigint("date_time"),
        bigint("expires"),
        bigint("seller"),
        bigint("category"),
        text("extra"),
    ]
}

pub(crate) struct Auctions(Auctioneer);

impl Auctions {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Auctioneer::new(config, Some(Part::Auction)))
    }
}

impl Rows for Auctions {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let world = &self.0;
        make(world, &world.event_numbers(Part::Auction, first, count), columns)
    }
}

/// Columns of the auctions with these event numbers.
pub(super) fn make(world: &Auctioneer, events: &[u64], columns: &[usize]) -> Vec<ArrayRef> {
    let rows = events.len();
    let mut values: [Vec<i64>; 7] = std::array::from_fn(|_| Vec::with_capacity(rows));
    let mut item_name = Text::with_capacity(rows, 20);
    let mut description = Text::with_capacity(rows, 100);
    let mut extra = Text::with_capacity(rows, 400);
    let wants_extra = columns.contains(&EXTRA);
    for &event in events {
        let config = &world.config;
        let rng = &mut world.rng(event);
        let time = world.time_ms(event);
        rng.letters(20, &mut item_name.bytes);
        item_name.end_value();
        rng.letters(100, &mut description.bytes);
        description.end_value();
        let initial_bid = Auctioneer::price(rng);
        let reserve = initial_bid + Auctioneer::price(rng);
        let ahead = config.in_flight_auctions as u64 * world.denominator() / config.auction_proportion as u64;
        let horizon = world.time_ms(event + ahead) - time;
        let expires = time + 1 + rng.below((horizon * 2).max(1));
        let seller = if rng.below(config.hot_seller_ratio as u64) > 0 {
            world.last_person(event) / HOT_RATIO * HOT_RATIO
        } else {
            world.next_person(event, rng)
        };
        let category = config.first_category_id as u64 + rng.below(config.num_categories as u64);
        let id = world.last_auction(event) + config.first_auction_id as u64;
        let all = [id, initial_bid, reserve, time, expires, seller + config.first_person_id as u64, category];
        values.iter_mut().zip(all).for_each(|(column, value)| column.push(value as i64));
        if wants_extra {
            let length = Auctioneer::extra_length(8 + 20 + 100 + 40, config.avg_auction_byte_size, rng);
            rng.letters(length, &mut extra.bytes);
            extra.end_value();
        }
    }
    let mut texts = [Some(item_name), Some(description), Some(extra)];
    let mut text = |index: usize| texts[index].take().expect("a column is asked for once").finish();
    let column = |&column: &usize| match column {
        ITEM_NAME => text(0),
        DESCRIPTION => text(1),
        EXTRA => text(2),
        TS => times(events.iter().map(|&event| world.time_ms(event))),
        _ => {
            let index = NUMBERS.iter().position(|&number| number == column).expect("auctions have eleven columns");
            numbers(std::mem::take(&mut values[index]))
        }
    };
    columns.iter().map(column).collect()
}
