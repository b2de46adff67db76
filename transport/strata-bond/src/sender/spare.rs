//! What may be spent beyond the stream: on second copies of packets that may still arrive, and on trains.
//!
//! Each packet that arrives earns a small share of its bytes, up to a limit: second
//! copies rescue what stands in a link that collapsed, and can never become a habit
//! that fills the links they are meant to relieve.

/// For second copies: 3 %, and at most half a second of 4 Mbit/s.
pub(super) const COPIES: Spare = Spare::full(30, 256 << 10);
/// For trains: 0.2 %, and at most what finds out about three links.
pub(super) const TRAINS: Spare = Spare::full(2, 64 << 10);

/// Bytes that may be spent.
#[derive(Debug)]
pub(super) struct Spare {
    /// Earned by each byte that arrives, in thousandths.
    share: u64,
    /// The most saved up, in thousandths of bytes.
    most: u64,
    /// Thousandths of bytes.
    saved: u64,
}

impl Spare {
    const fn full(share: u64, most_bytes: u64) -> Self {
        Self { share, most: most_bytes * 1000, saved: most_bytes * 1000 }
    }

    /// `bytes` arrived.
    pub(super) fn earn(&mut self, bytes: u32) {
        self.saved = (self.saved + u64::from(bytes) * self.share).min(self.most);
    }

    /// Spends `bytes`, if there is so much.
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        let left = self.saved.checked_sub(u64::from(bytes) * 1000);
        self.saved = left.unwrap_or(self.saved);
        left.is_some()
    }

    /// The same, but leaves half of the most for second copies.
    pub(super) fn take_half(&mut self, bytes: u32) -> bool {
        self.saved * 2 >= self.most && self.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_three_percent_are_spent_and_a_burst_at_most_the_limit() {
        let mut spare = COPIES;
        let burst = std::iter::repeat_with(|| spare.take(1400)).take_while(|taken| *taken).count();
        assert_eq!(burst as u64, (256 << 10) / 1400);
        let mut taken = 0;
        for _ in 0..10_000 {
            spare.earn(1400);
            taken += u64::from(spare.take(1400));
        }
        assert!((295..=305).contains(&taken), "{taken}");
        let mut spare = TRAINS;
        while spare.take(1400) {}
        (0..10_000).for_each(|_| spare.earn(1400));
        assert!(spare.take(10_000 * 1400 / 500) && !spare.take(1400), "one in five hundred");
    }
}
