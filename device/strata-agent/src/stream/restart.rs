//! Whether a crashed encoder is started again, as a pure function of its history.

use std::time::Duration;

/// An encoder that ran for so long was healthy: the count begins anew.
const HEALTHY: Duration = Duration::from_secs(60);
/// Before the first restart in a row; doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_millis(500);

/// Counts restarts in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RestartPolicy {
    in_a_row: u32,
}

/// What to do after a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Start it again after this wait.
    Restart(Duration),
    /// Enough.
    GiveUp,
}

impl RestartPolicy {
    /// Restarts in a row; the next crash ends the stream.
    pub const MAX_IN_A_ROW: u32 = 3;

    /// The policy and the decision after a crash of an encoder that had sent pictures for `ran`.
    #[must_use]
    pub fn crashed(self, ran: Duration) -> (Self, Decision) {
        let in_a_row = if ran >= HEALTHY { 0 } else { self.in_a_row };
        if in_a_row >= Self::MAX_IN_A_ROW {
            return (Self { in_a_row }, Decision::GiveUp);
        }
        (Self { in_a_row: in_a_row + 1 }, Decision::Restart(FIRST_DELAY * 2u32.pow(in_a_row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_restarts_in_a_row_then_the_stream_ends() {
        let mut policy = RestartPolicy::default();
        let mut waits = Vec::new();
        for _ in 0..3 {
            let (next, decision) = policy.crashed(Duration::from_secs(5));
            let Decision::Restart(wait) = decision else { panic!("gave up too early") };
            waits.push(wait.as_millis());
            policy = next;
        }
        assert_eq!(waits, [500, 1_000, 2_000]);
        assert_eq!(policy.crashed(Duration::from_secs(5)).1, Decision::GiveUp);
    }

    #[test]
    fn a_healthy_minute_clears_the_count() {
        let (mut policy, _) = RestartPolicy::default().crashed(Duration::ZERO);
        for _ in 0..10 {
            let (next, decision) = policy.crashed(Duration::from_secs(60));
            assert_eq!(decision, Decision::Restart(Duration::from_millis(500)));
            policy = next;
        }
    }
}
