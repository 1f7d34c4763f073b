//! How much one party may ask for: token buckets, with the time given.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Times a second in the long run; at least 1.
    pub per_second: u32,
    /// Times at once after a rest; at least 1.
    pub burst: u32,
}

/// Tokens are counted in millionths.
const TOKEN: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    level: u64,
    at: Duration,
}

impl Bucket {
    const fn full(rate: Rate, at: Duration) -> Self {
        Self { level: rate.burst as u64 * TOKEN, at }
    }

    fn fill(&mut self, rate: Rate, now: Duration) {
        let passed = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        let most = u64::from(rate.burst).saturating_mul(TOKEN);
        self.level = self.level.saturating_add(passed.saturating_mul(rate.per_second.into())).min(most);
        self.at = now.max(self.at);
    }

    /// Takes a token, or says when there will be one.
    fn take(&mut self, rate: Rate, now: Duration) -> Result<(), Duration> {
        self.fill(rate, now);
        match self.level.checked_sub(TOKEN) {
            Some(rest) => {
                self.level = rest;
                Ok(())
            }
            None => {
                let missing = TOKEN.saturating_sub(self.level);
                Err(Duration::from_micros(missing.div_ceil(u64::from(rate.per_second).max(1))))
            }
        }
    }
}

/// Buckets of many parties in bounded memory. Whoever comes when there are too many shares one with the others.
#[derive(Debug)]
pub struct Meters<K> {
    rate: Rate,
    most: usize,
    each: BTreeMap<K, Bucket>,
    others: Option<Bucket>,
}

impl<K: Ord + Clone> Meters<K> {
    /// For at most `most` parties of their own.
    pub const fn new(rate: Rate, most: usize) -> Self {
        Self { rate, most, each: BTreeMap::new(), others: None }
    }

    /// Takes a token of a party. `now`: time since any fixed moment.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, party: &K, now: Duration) -> Result<(), Duration> {
        let rate = self.rate;
        if let Some(bucket) = self.each.get_mut(party) {
            return bucket.take(rate, now);
        }
        if self.each.len() >= self.most {
            let full = u64::from(rate.burst).saturating_mul(TOKEN);
            self.each.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.level < full
            });
        }
        if self.each.len() >= self.most {
            return self.others.get_or_insert(Bucket::full(rate, now)).take(rate, now);
        }
        self.each.entry(party.clone()).or_insert(Bucket::full(rate, now)).take(rate, now)
    }

    /// Parties with a bucket of their own.
    pub fn len(&self) -> usize {
        self.each.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.each.is_empty()
    }
}

/// Who counts as one client: an IPv4 address, or an IPv6 /64, which one line usually has as a whole.
pub fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut m = Meters::new(RATE, 10);
        for _ in 0..3 {
            assert_eq!(m.take(&"a", at(0)), Ok(()));
        }
        assert_eq!(m.take(&"a", at(0)), Err(at(100)));
        assert_eq!(m.take(&"b", at(0)), Ok(()), "others are not concerned");
        assert_eq!(m.take(&"a", at(60)), Err(at(40)));
        assert_eq!(m.take(&"a", at(100)), Ok(()));
        assert_eq!(m.take(&"a", at(50)), Err(at(100)), "a clock that goes back gives nothing");
    }

    #[test]
    fn memory_is_bounded_and_the_idle_make_room() {
        let mut m = Meters::new(RATE, 2);
        for party in 0..100 {
            let _ = m.take(&party, at(0));
        }
        assert_eq!(m.len(), 2);
        assert!(m.take(&100, at(0)).is_err(), "the rest share one bucket");
        assert_eq!(m.take(&101, at(10_000)), Ok(()));
        assert_eq!(m.len(), 1, "those who rested were forgotten");
    }

    #[test]
    fn one_line_is_one_client() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    proptest! {
        /// Nobody gets more than burst + rate * time.
        #[test]
        fn never_more_than_the_rate(steps in prop::collection::vec(0u64..200, 1..100)) {
            let (mut m, mut now, mut got) = (Meters::new(RATE, 4), 0u64, 0u64);
            for step in steps {
                now += step;
                got += u64::from(m.take(&(), at(now)).is_ok());
            }
            prop_assert!(got * 1000 <= 3 * 1000 + now * 10);
        }
    }
}
