//! What may be spent on second copies of packets that may still arrive.
//!
//! Each packet that arrives earns a small share of its bytes, up to a limit: second
//! copies rescue what stands in a link that collapsed, and can never become a habit
//! that fills the links they are meant to relieve.

/// Earned by each byte that arrives, in percent.
const SHARE_PERCENT: u64 = 3;
/// The most saved up, in bytes: half a second of 4 Mbit/s.
const MOST: u64 = 256 << 10;

/// Bytes that may be spent.
#[derive(Debug)]
pub(super) struct Spare {
    /// Hundredths of bytes.
    cents: u64,
}

impl Default for Spare {
    fn default() -> Self {
        Self { cents: MOST * 100 }
    }
}

impl Spare {
    /// `bytes` arrived.
    pub(super) fn earn(&mut self, bytes: u32) {
        self.cents = (self.cents + u64::from(bytes) * SHARE_PERCENT).min(MOST * 100);
    }

    /// Spends `bytes`, if there is so much.
    pub(super) fn take(&mut self, bytes: u32) -> bool {
        let left = self.cents.checked_sub(u64::from(bytes) * 100);
        self.cents = left.unwrap_or(self.cents);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_long_run_three_percent_are_spent_and_a_burst_at_most_the_limit() {
        let mut spare = Spare::default();
        let burst = std::iter::repeat_with(|| spare.take(1400)).take_while(|taken| *taken).count();
        assert_eq!(burst as u64, MOST / 1400);
        let mut taken = 0;
        for _ in 0..10_000 {
            spare.earn(1400);
            taken += u64::from(spare.take(1400));
        }
        assert!((295..=305).contains(&taken), "{taken}");
    }
}
