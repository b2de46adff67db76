//! Links whose rate fades as that of a moving phone does, where no recording is at hand.
//!
//! The logarithm of the rate wanders and is drawn back to its mean. Fixed numbers
//! make one fading, as a recording is one drive: a run's seed changes losses and
//! jitter, never the rates.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// The rate changes this often.
const STEP: Duration = Duration::from_millis(200);
/// The rate forgets what it was over this time.
const MEMORY_S: f64 = 4.0;
/// How far it strays: one standard deviation is a factor of 1.8.
const SPREAD: f64 = 0.6;
/// Between these parts of the typical rate.
const RANGE: (f64, f64) = (0.05, 3.0);

/// The rates of one link, in thousands of bits a second, by time since the start.
pub(crate) fn rates(drive: u64, typical_kbps: u64, until: Duration) -> Vec<(Duration, u64)> {
    let mut random = SmallRng::seed_from_u64(drive);
    let kept = (-STEP.as_secs_f64() / MEMORY_S).exp();
    let typical = typical_kbps as f64;
    let (mut rates, mut at, mut stray) = (Vec::new(), Duration::ZERO, 0.0);
    while at < until {
        let factor = (stray * SPREAD).exp().clamp(RANGE.0, RANGE.1);
        rates.push((at, (typical * factor) as u64));
        stray = stray * kept + normal(&mut random) * (1.0 - kept * kept).sqrt();
        at += STEP;
    }
    rates
}

/// The sum of twelve even numbers is normal enough.
fn normal(random: &mut SmallRng) -> f64 {
    (0..12).map(|_| random.random::<f64>()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_is_the_same_each_time_and_varies_much() {
        let first = rates(1, 5000, Duration::from_secs(100));
        assert_eq!(first, rates(1, 5000, Duration::from_secs(100)));
        assert_ne!(first, rates(2, 5000, Duration::from_secs(100)));
        assert_eq!(first.len(), 500);
        let (least, most) = (first.iter().map(|rate| rate.1).min(), first.iter().map(|rate| rate.1).max());
        assert!(least < Some(2500) && most > Some(9000), "{least:?} {most:?}");
    }
}
