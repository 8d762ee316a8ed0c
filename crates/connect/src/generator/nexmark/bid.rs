//! Bids: 46 of 50 events.

use arrow::array::ArrayRef;
use arrow::datatypes::Field;

use super::channels::CHANNELS;
use super::{Auctioneer, HOT_RATIO, Part, numbers, times};
use crate::generator::config::Config;
use crate::generator::kind::{Rows, bigint, text};
use crate::generator::random::SmallRng;
use crate::generator::text::Text;

const AUCTION: usize = 0;
const BIDDER: usize = 1;
const PRICE: usize = 2;
const CHANNEL: usize = 3;
const URL: usize = 4;
const DATE_TIME: usize = 5;
const EXTRA: usize = 6;
const TS: usize = 7;

/// The crate counts two ids, a price and a time.
const FIXED_BYTES: usize = 32;

pub(crate) fn fields() -> Vec<Field> {
    vec![
        bigint("auction"),
        bigint("bidder"),
        bigint("price"),
        text("channel"),
        text("url"),
        bigint("date_time"),
        text("extra"),
    ]
}

pub(crate) struct Bids(Auctioneer);

impl Bids {
    pub(crate) fn new(config: &Config) -> Self {
        Self(Auctioneer::new(config, Some(Part::Bid)))
    }
}

impl Rows for Bids {
    fn make(&self, first: u64, count: usize, columns: &[usize]) -> Vec<ArrayRef> {
        let world = &self.0;
        make(world, &world.event_numbers(Part::Bid, first, count), columns)
    }
}

/// Columns of the bids with these event numbers.
pub(super) fn make(world: &Auctioneer, events: &[u64], columns: &[usize]) -> Vec<ArrayRef> {
    let wants = |column| columns.contains(&column);
    let mut drawn = Drawn::for_rows(events.len(), wants);
    if wants(EXTRA) {
        events.iter().for_each(|&event| drawn.draw::<3>(world, event));
    } else if wants(CHANNEL) || wants(URL) {
        events.iter().for_each(|&event| drawn.draw::<2>(world, event));
    } else if wants(PRICE) {
        events.iter().for_each(|&event| drawn.draw::<1>(world, event));
    } else if wants(AUCTION) || wants(BIDDER) {
        events.iter().for_each(|&event| drawn.draw::<0>(world, event));
    }
    let time = || events.iter().map(|&event| world.time_ms(event));
    let column = |&column: &usize| match column {
        AUCTION => numbers(std::mem::take(&mut drawn.auction)),
        BIDDER => numbers(std::mem::take(&mut drawn.bidder)),
        PRICE => numbers(std::mem::take(&mut drawn.price)),
        CHANNEL => drawn.channel.take().expect("asked for, drawn").finish(),
        URL => drawn.url.take().expect("asked for, drawn").finish(),
        EXTRA => drawn.extra.take().expect("asked for, drawn").finish(),
        DATE_TIME => numbers(time().map(|ms| ms as i64).collect()),
        TS => times(time()),
        _ => unreachable!("bids have eight columns"),
    };
    columns.iter().map(column).collect()
}

struct Drawn {
    auction: Vec<i64>,
    bidder: Vec<i64>,
    price: Vec<i64>,
    channel: Option<Text>,
    url: Option<Text>,
    extra: Option<Text>,
}

impl Drawn {
    fn for_rows(rows: usize, wants: impl Fn(usize) -> bool) -> Self {
        let text = |column, bytes| wants(column).then(|| Text::with_capacity(rows, bytes));
        Self {
            auction: Vec::with_capacity(rows),
            bidder: Vec::with_capacity(rows),
            price: Vec::with_capacity(rows),
            channel: text(CHANNEL, 12),
            url: text(URL, 80),
            extra: text(EXTRA, 82),
        }
    }

    /// Draws in the crate's order; stops after ids (0), price (1), channel (2), filler (3).
    #[inline(always)]
    fn draw<const DEPTH: u8>(&mut self, world: &Auctioneer, event: u64) {
        let config = &world.config;
        let rng = &mut world.rng(event);
        let auction = if rng.below(config.hot_auction_ratio as u64) > 0 {
            world.last_auction(event) / HOT_RATIO * HOT_RATIO
        } else {
            world.next_auction(event, rng)
        };
        self.auction.push(auction as i64 + config.first_auction_id as i64);
        // The second of a hundred, so that hot bidders are not hot sellers.
        let bidder = if rng.below(config.hot_bidder_ratio as u64) > 0 {
            world.last_person(event) / HOT_RATIO * HOT_RATIO + 1
        } else {
            world.next_person(event, rng)
        };
        self.bidder.push(bidder as i64 + config.first_person_id as i64);
        if DEPTH == 0 {
            return;
        }
        self.price.push(Auctioneer::price(rng) as i64);
        if DEPTH == 1 {
            return;
        }
        self.draw_channel(world, rng);
        if DEPTH == 2 {
            return;
        }
        let length = Auctioneer::extra_length(FIXED_BYTES, config.avg_bid_byte_size, rng);
        let extra = self.extra.as_mut().expect("drawn so deep only if asked for");
        rng.letters(length, &mut extra.bytes);
        extra.end_value();
    }

    #[inline(always)]
    fn draw_channel(&mut self, world: &Auctioneer, rng: &mut SmallRng) {
        let config = &world.config;
        if rng.below(config.hot_channel_ratio as u64) > 0 {
            let index = rng.below(config.hot_channels.len() as u64) as usize;
            self.push_channel(&config.hot_channels[index], &config.hot_urls[index]);
        } else {
            let index = rng.below_u32(10_000) as usize;
            if self.channel.is_some() || self.url.is_some() {
                let (channel, url) = &CHANNELS[index];
                self.push_channel(channel, url);
            }
        }
    }

    #[inline(always)]
    fn push_channel(&mut self, channel: &str, url: &str) {
        if let Some(column) = &mut self.channel {
            column.push(channel);
        }
        if let Some(column) = &mut self.url {
            column.push(url);
        }
    }
}
