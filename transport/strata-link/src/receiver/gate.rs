//! Who may begin a handshake now: what strangers cost is bounded, and they do not take the right peer's place.
//!
//! A handshake costs about as much as a thousand packets, and quinn may answer a
//! first packet with up to four times its size. So whoever has not shown that it
//! receives at its address has to first (RFC 9000, section 8.1.2), which costs us
//! no state; whoever has is limited by that address, so that others are not. What
//! succeeded is not counted. Owns no socket and no clock.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Handshakes at a time; more are ignored.
const MAX_HANDSHAKES: usize = 64;
/// Handshakes of one address that fail: sixteen links' worth twice at once, and one each step.
const BURST: u32 = 32;
const STEP: Duration = Duration::from_millis(250);
/// Handshakes at a time from one address: one sender's links.
const MAX_PER_ADDRESS: usize = 16;
/// Addresses remembered; nobody new is let in while all of them are busy.
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

#[derive(Debug)]
struct Address {
    /// When all that was used of the burst will be there again.
    restored: Instant,
    pending: usize,
}

/// The gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pending: usize,
    addresses: HashMap<IpAddr, Address>,
    complained: Option<Instant>,
}

impl Gate {
    /// An attempt from `ip`; `proven`: what we sent to that address came back.
    pub(super) fn knock(&mut self, now: Instant, ip: IpAddr, proven: bool) -> Verdict {
        if !proven {
            return Verdict::Prove;
        }
        if self.pending >= MAX_HANDSHAKES || !self.make_room(now, ip) {
            return Verdict::Ignore;
        }
        let address = self.addresses.entry(group(ip)).or_insert(Address { restored: now, pending: 0 });
        let restored = address.restored.max(now) + STEP;
        if address.pending >= MAX_PER_ADDRESS || restored > now + STEP * BURST {
            return Verdict::Ignore;
        }
        address.restored = restored;
        address.pending += 1;
        self.pending += 1;
        Verdict::Accept
    }

    /// Whether `ip` is known or there is room for it.
    fn make_room(&mut self, now: Instant, ip: IpAddr) -> bool {
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&group(ip)) {
            return true;
        }
        self.addresses.retain(|_, address| address.pending > 0 || address.restored > now);
        self.addresses.len() < MAX_ADDRESSES
    }

    /// An accepted handshake is over, well (`known`) or not.
    pub(super) fn ended(&mut self, ip: IpAddr, known: bool) {
        self.pending -= 1;
        let Some(address) = self.addresses.get_mut(&group(ip)) else { return };
        address.pending -= 1;
        if known {
            address.restored = address.restored.checked_sub(STEP).unwrap_or(address.restored);
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

    fn accepted(gate: &mut Gate, now: Instant, ip: IpAddr, attempts: usize) -> usize {
        (0..attempts).filter(|_| gate.knock(now, ip, true) == Verdict::Accept).count()
    }

    #[test]
    fn made_up_addresses_leave_no_state() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for number in 0..20_000 {
            assert_eq!(gate.knock(now, address(number), false), Verdict::Prove);
        }
        assert_eq!(gate.addresses.len(), 0);
        assert_eq!(gate.knock(now, address(1), true), Verdict::Accept, "the right peer proves its address");
    }

    #[test]
    fn handshakes_that_fail_at_once_are_limited() {
        let start = Instant::now();
        let mut gate = Gate::default();
        let mut count = 0;
        for ms in 0..10_000 {
            if gate.knock(start + MS * ms, address(1), true) == Verdict::Accept {
                gate.ended(address(1), false);
                count += 1;
            }
        }
        assert!((60..=80).contains(&count), "{count} handshakes in ten seconds");
        assert_eq!(gate.knock(start + MS * 10_000, address(2), true), Verdict::Accept, "another address has its own");
    }

    #[test]
    fn one_address_leaves_room_for_others() {
        let now = Instant::now();
        let mut gate = Gate::default();
        assert_eq!(accepted(&mut gate, now, address(1), 100), MAX_PER_ADDRESS);
        assert_eq!(accepted(&mut gate, now, address(2), 16), 16);
    }

    #[test]
    fn a_peer_that_is_known_is_never_limited() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for _ in 0..10_000 {
            assert_eq!(gate.knock(now, address(1), true), Verdict::Accept);
            gate.ended(address(1), true);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let now = Instant::now();
        let mut gate = Gate::default();
        for number in 0..10_000 {
            if gate.knock(now, address(number), true) == Verdict::Accept {
                gate.ended(address(number), false);
            }
        }
        assert_eq!(gate.addresses.len(), MAX_ADDRESSES);
        assert_eq!(gate.knock(now + STEP, address(20_000), true), Verdict::Accept);
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
        let mut gate = Gate::default();
        assert!(gate.may_complain(now) && !gate.may_complain(now + MS * 9_999) && gate.may_complain(now + MS * 10_000));
    }
}
