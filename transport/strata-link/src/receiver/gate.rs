//! Who may begin a handshake now: what strangers cost is bounded, and they do not take the right peer's place.
//!
//! A handshake costs about as much as a thousand packets. Whoever has not shown
//! that it receives at its address has to (RFC 9000, section 8.1.2) once there
//! are more than a few such; whoever has is limited by that address, so that
//! others are not. What succeeded is not counted. Owns no socket and no clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Handshakes at a time; more are ignored.
const MAX_HANDSHAKES: usize = 64;
/// From so many on, an address must prove that it receives what we send, before any state is kept.
const CAREFUL_FROM: usize = 8;
/// Handshakes of unproven addresses: so many at once, then one each step.
const UNPROVEN: Allowance = Allowance { burst: 16, step: Duration::from_millis(100) };
/// Handshakes of one proven address that fail: sixteen links' worth twice, then one each step.
const PROVEN: Allowance = Allowance { burst: 32, step: Duration::from_millis(250) };
/// Handshakes at a time from one proven address: one sender's links.
const MAX_PER_ADDRESS: usize = 16;
/// Proven addresses remembered; nobody new is let in while all of them are busy.
const MAX_ADDRESSES: usize = 1024;
/// Refusals are said aloud so often; a log is no place for a storm either.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// What to do with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Begin the handshake; [`Gate::ended`] must follow.
    Accept,
    /// Ask for a proof of the address; nothing is kept.
    Prove,
    /// No answer: cheaper than a refusal, and an honest client tries again by itself.
    Ignore,
}

/// A number of events at once, and one more each step.
struct Allowance {
    burst: u32,
    step: Duration,
}

/// When all that was used of an allowance will be there again.
#[derive(Debug, Clone, Copy)]
struct Used(Instant);

impl Used {
    fn take(&mut self, now: Instant, allowance: &Allowance) -> bool {
        let used = self.0.max(now) + allowance.step;
        let fits = used <= now + allowance.step * allowance.burst;
        if fits {
            self.0 = used;
        }
        fits
    }

    fn give_back(&mut self, allowance: &Allowance) {
        self.0 = self.0.checked_sub(allowance.step).unwrap_or(self.0);
    }
}

#[derive(Debug)]
struct Address {
    used: Used,
    pending: usize,
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    pending: usize,
    unproven: Used,
    addresses: HashMap<IpAddr, Address>,
    complained: Option<Instant>,
}

impl Gate {
    pub(super) fn new(now: Instant) -> Self {
        Self { pending: 0, unproven: Used(now), addresses: HashMap::new(), complained: None }
    }

    /// An attempt from `ip`; `proven`: what we sent to that address came back.
    pub(super) fn knock(&mut self, now: Instant, ip: IpAddr, proven: bool) -> Verdict {
        if !proven {
            // Counted by nobody's address: anybody could have written it.
            let careful = self.pending >= CAREFUL_FROM || !self.unproven.take(now, &UNPROVEN);
            return if careful { Verdict::Prove } else { self.accept() };
        }
        if self.pending >= MAX_HANDSHAKES || !self.make_room(now, ip) {
            return Verdict::Ignore;
        }
        let address = self.addresses.entry(group(ip)).or_insert(Address { used: Used(now), pending: 0 });
        if address.pending >= MAX_PER_ADDRESS || !address.used.take(now, &PROVEN) {
            return Verdict::Ignore;
        }
        address.pending += 1;
        self.accept()
    }

    fn accept(&mut self) -> Verdict {
        self.pending += 1;
        Verdict::Accept
    }

    /// Whether `ip` is known or there is room for it.
    fn make_room(&mut self, now: Instant, ip: IpAddr) -> bool {
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&group(ip)) {
            return true;
        }
        self.addresses.retain(|_, address| address.pending > 0 || address.used.0 > now);
        self.addresses.len() < MAX_ADDRESSES
    }

    /// An accepted handshake is over, well (`known`) or not.
    pub(super) fn ended(&mut self, ip: IpAddr, proven: bool, known: bool) {
        self.pending -= 1;
        let (used, allowance) = if proven {
            let Some(address) = self.addresses.get_mut(&group(ip)) else { return };
            address.pending -= 1;
            (&mut address.used, &PROVEN)
        } else {
            (&mut self.unproven, &UNPROVEN)
        };
        if known {
            used.give_back(allowance);
        }
    }

    /// Whether to say aloud that a stranger was refused.
    pub(super) fn may_complain(&mut self, now: Instant) -> bool {
        let due = self.complained.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL);
        if due {
            self.complained = Some(now);
        }
        due
    }
}

/// What one owner of an address has: an IPv4 address, a /64 of IPv6.
fn group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn address(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn accepted(gate: &mut Gate, now: Instant, addresses: impl Iterator<Item = (IpAddr, bool)>) -> usize {
        addresses.filter(|&(ip, proven)| gate.knock(now, ip, proven) == Verdict::Accept).count()
    }

    #[test]
    fn made_up_addresses_cost_a_few_handshakes_and_then_only_answers() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        assert_eq!(accepted(&mut gate, now, (0..20_000).map(|n| (address(n), false))), CAREFUL_FROM);
        assert_eq!(gate.knock(now, address(1), false), Verdict::Prove);
        assert_eq!(gate.addresses.len(), 0, "no state");
        assert_eq!(gate.knock(now, address(1), true), Verdict::Accept, "the right peer proves its address");
    }

    #[test]
    fn handshakes_that_fail_at_once_are_limited_too() {
        let start = Instant::now();
        let mut gate = Gate::new(start);
        let mut count = 0;
        for ms in 0..10_000 {
            for proven in [false, true] {
                if gate.knock(start + MS * ms, address(1), proven) == Verdict::Accept {
                    gate.ended(address(1), proven, false);
                    count += 1;
                }
            }
        }
        assert!((100..=200).contains(&count), "{count} handshakes in ten seconds");
        assert_eq!(gate.knock(start + MS * 10_000, address(2), true), Verdict::Accept, "another address has its own");
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        assert_eq!(accepted(&mut gate, now, (0..100).map(|_| (address(1), true))), MAX_PER_ADDRESS);
        assert_eq!(accepted(&mut gate, now, (0..16).map(|_| (address(2), true))), 16);
    }

    #[test]
    fn a_peer_that_is_known_is_never_limited() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        for _ in 0..10_000 {
            assert_eq!(gate.knock(now, address(1), true), Verdict::Accept);
            gate.ended(address(1), true, true);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        for number in 0..10_000 {
            if gate.knock(now, address(number), true) == Verdict::Accept {
                gate.ended(address(number), true, false);
            }
        }
        assert_eq!(gate.addresses.len(), MAX_ADDRESSES);
        assert_eq!(gate.knock(now + PROVEN.step, address(20_000), true), Verdict::Accept);
        assert_eq!(gate.addresses.len(), 1);
    }

    #[test]
    fn addresses_of_one_owner_count_together() {
        let [a, b, c] = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|text| group(text.parse().unwrap()));
        assert!(a == b && a != c);
        assert_eq!(group("::ffff:10.0.0.1".parse().unwrap()), group("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_storm_is_told_once_in_ten_seconds() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        assert!(gate.may_complain(now) && !gate.may_complain(now + MS * 9_999) && gate.may_complain(now + MS * 10_000));
    }
}
