//! The channels with their URLs.

use std::sync::LazyLock;

use crate::generator::random::SmallRng;

/// `channel-0` .. `channel-9999`, each with its URL.
pub(crate) static CHANNELS: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let channel = |number: u32| {
        let mut url = base_url(u64::from(number));
        if SmallRng::seed_from_u64(u64::from(number)).below_u32(10) > 0 {
            url += &format!("&channel_id={}", i64::from((number as i32).reverse_bits()).abs());
        }
        (format!("channel-{number}"), url)
    };
    (0..10_000).map(channel).collect()
});

fn base_url(seed: u64) -> String {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut part = || {
        let length = 3 + rng.below(2);
        let letter = |_| if rng.below_u32(13) == 0 { '_' } else { char::from(rng.letter()) };
        (0..length).map(letter).collect::<String>()
    };
    format!("https://www.nexmark.com/{}/{}/{}/item.htm?query=1", part(), part(), part())
}
