//! When the access point is on: the way in for whoever has to bring the device online.
//!
//! A pure state machine: facts and the time come from outside, what it answers is
//! what the radio shall do. It decides, others carry it out. On while the device
//! is not enrolled, has no internet, or lost its relay for some minutes; off while
//! it is online or streams, unless configured to be always on.
//!
//! With one radio access point and client take turns. Whoever wants the device to
//! join a network says so ([`Machine::join`]) and gets the access point back as
//! soon as that failed; without anybody, networks that the device knows are tried
//! now and then, while nobody is on the access point.

use std::time::Duration;

use strata_control::ApPolicy;

/// A relay may be away for so long before somebody has to look.
pub const RELAY_LOST: Duration = Duration::from_secs(5 * 60);
/// After the start a device that knows a network, or is enrolled, gets so long to be online by itself: slow routers.
pub const GRACE: Duration = Duration::from_secs(60);
/// Between two changes of its own accord.
pub const HOLD: Duration = Duration::from_secs(30);
/// With one radio, known networks are tried after so long on the access point with nobody there …
pub const TURN: Duration = Duration::from_secs(5 * 60);
/// … and for so long.
pub const TRY: Duration = Duration::from_secs(40);
/// A network that somebody chose is joined within this, or not at all.
pub const JOIN: Duration = Duration::from_secs(25);

/// How access point and client go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Radios {
    /// No radio that can be an access point.
    None,
    /// One: either, or.
    One,
    /// The access point has a radio of its own.
    Two,
}

/// What is the case now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// What the relay or the configuration says.
    pub policy: ApPolicy,
    /// Whether the device belongs to somebody.
    pub enrolled: bool,
    /// Whether the internet is reached over any interface.
    pub internet: bool,
    /// Whether the device is logged in at its relay.
    pub relay: bool,
    /// Whether a stream moves: one without any link that carries does not.
    pub streaming: bool,
    /// What radios there are.
    pub radios: Radios,
    /// Whether the internet is reached over the radio that would be the access point.
    pub uplink_on_radio: bool,
    /// Whether there are networks that the device could join by itself.
    pub known_networks: bool,
    /// How many are on the access point.
    pub guests: u32,
}

/// What the radio shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Radio {
    /// Be the access point.
    AccessPoint,
    /// Join networks, as NetworkManager sees fit.
    Client,
}

/// Why the access point is on, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The device belongs to nobody yet.
    NotEnrolled,
    /// The internet is not reached.
    NoInternet,
    /// The relay is not reached, for minutes.
    RelayLost,
    /// It is configured so.
    Always,
}

/// When it is on.
#[derive(Debug)]
pub struct Machine {
    started: Duration,
    radio: Radio,
    /// The last change of its own accord.
    changed: Option<Duration>,
    /// Since when the relay is not reached.
    relay_lost: Option<Duration>,
    /// Since when the access point is on with nobody there.
    alone: Option<Duration>,
    /// Until when known networks are tried.
    trying: Option<Duration>,
    /// Until when the network that somebody chose is joined.
    joining: Option<Duration>,
}

impl Machine {
    /// At the start of the device: the radio is a client.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            started: now,
            radio: Radio::Client,
            changed: None,
            relay_lost: Some(now),
            alone: None,
            trying: None,
            joining: None,
        }
    }

    /// What the radio does.
    #[must_use]
    pub fn radio(&self) -> Radio {
        self.radio
    }

    /// Somebody chose a network: the radio is free for it at once.
    pub fn join(&mut self, now: Duration, facts: &Facts) {
        self.joining = Some(now + JOIN);
        if facts.radios != Radios::Two {
            self.radio = Radio::Client;
        }
    }

    /// The radio has nothing more to do as a client, because that failed or is done: the access point comes back at
    /// once, if there is need of it.
    pub fn give_back(&mut self, now: Duration, facts: &Facts) {
        self.joining = None;
        self.trying = None;
        if self.reason(now, facts).is_some() {
            self.radio = Radio::AccessPoint;
            self.alone = Some(now);
        }
    }

    /// The network is joined: the radio stays a client while it is seen what it leads to.
    pub fn joined(&mut self, now: Duration) {
        self.joining = None;
        self.trying = Some(now + TRY);
    }

    /// Somebody gave the device something to do online: known networks are tried at once.
    pub fn go_online(&mut self, now: Duration, facts: &Facts) {
        if facts.known_networks && facts.radios == Radios::One {
            self.trying = Some(now + TRY);
            self.radio = Radio::Client;
        }
    }

    /// Why the access point is wanted; none while it is not.
    #[must_use]
    pub fn reason(&self, now: Duration, facts: &Facts) -> Option<Reason> {
        let lost = !facts.relay && self.relay_lost.is_some_and(|since| now.saturating_sub(since) >= RELAY_LOST);
        match facts {
            Facts { radios: Radios::None, .. } => None,
            Facts { policy: ApPolicy::Always, .. } => Some(Reason::Always),
            Facts { streaming: true, .. } => None,
            Facts { enrolled: false, .. } => Some(Reason::NotEnrolled),
            Facts { internet: false, .. } => Some(Reason::NoInternet),
            _ => lost.then_some(Reason::RelayLost),
        }
    }

    /// Looks at the facts; answers what the radio shall do from now on.
    pub fn look(&mut self, now: Duration, facts: &Facts) -> Radio {
        self.relay_lost = if facts.relay { None } else { self.relay_lost.or(Some(now)) };
        self.joining = self.joining.filter(|&until| now < until);
        self.trying = self.trying.filter(|&until| now < until);
        let wanted = self.wanted(now, facts);
        if wanted != self.radio && self.may_change(now, facts, wanted) {
            self.radio = wanted;
            self.changed = Some(now);
        }
        let alone = self.radio == Radio::AccessPoint && facts.guests == 0;
        self.alone = if alone { self.alone.or(Some(now)) } else { None };
        self.radio
    }

    fn wanted(&mut self, now: Duration, facts: &Facts) -> Radio {
        let Some(reason) = self.reason(now, facts) else { return Radio::Client };
        if facts.radios == Radios::Two {
            return Radio::AccessPoint;
        }
        let by_itself = facts.known_networks || facts.enrolled;
        let grace = by_itself && now.saturating_sub(self.started) < GRACE;
        if grace || self.joining.is_some() || self.trying.is_some() {
            return Radio::Client;
        }
        // Being always on is worth less than being online.
        if facts.uplink_on_radio && reason == Reason::Always {
            return Radio::Client;
        }
        let turn = self.alone.is_some_and(|since| now.saturating_sub(since) >= TURN);
        if turn && facts.known_networks && !facts.internet {
            self.trying = Some(now + TRY);
            return Radio::Client;
        }
        Radio::AccessPoint
    }

    fn may_change(&self, now: Duration, facts: &Facts, wanted: Radio) -> bool {
        // A stream that begins is never kept waiting, nor is a radio that is gone.
        let urgent = wanted == Radio::Client && (facts.streaming || facts.radios == Radios::None);
        urgent || self.changed.is_none_or(|at| now.saturating_sub(at) >= HOLD)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ONLINE: Facts = Facts {
        policy: ApPolicy::WhenNeeded,
        enrolled: true,
        internet: true,
        relay: true,
        streaming: false,
        radios: Radios::One,
        uplink_on_radio: false,
        known_networks: false,
        guests: 0,
    };
    const NEW: Facts = Facts { enrolled: false, internet: false, relay: false, ..ONLINE };
    const OFFLINE: Facts = Facts { internet: false, relay: false, ..ONLINE };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_table_of_the_specification() {
        use ApPolicy::{Always, WhenNeeded};
        use Radio::{AccessPoint, Client};
        let relay_lost = Facts { relay: false, ..ONLINE };
        // Facts, seconds for which they hold after the grace of the start, radio.
        let table = [
            (NEW, 0, AccessPoint),
            (Facts { internet: true, ..NEW }, 0, AccessPoint),
            (OFFLINE, 0, AccessPoint),
            (ONLINE, 0, Client),
            (Facts { uplink_on_radio: true, ..ONLINE }, 0, Client),
            (relay_lost, 239, Client),
            (relay_lost, 241, AccessPoint),
            (Facts { policy: Always, ..ONLINE }, 0, AccessPoint),
            (Facts { policy: Always, uplink_on_radio: true, ..ONLINE }, 0, Client),
            (Facts { policy: Always, uplink_on_radio: true, radios: Radios::Two, ..ONLINE }, 0, AccessPoint),
            (Facts { streaming: true, ..NEW }, 0, Client),
            (Facts { streaming: true, policy: Always, ..ONLINE }, 0, AccessPoint),
            (Facts { policy: WhenNeeded, radios: Radios::None, ..NEW }, 0, Client),
        ];
        for (facts, seconds, radio) in table {
            let mut machine = Machine::new(s(0));
            for second in 0..=60 + seconds {
                machine.look(s(second), &facts);
            }
            assert_eq!(machine.radio(), radio, "{facts:?} for {seconds} s");
        }
    }

    #[test]
    fn a_new_device_that_knows_no_network_is_an_access_point_at_once() {
        assert_eq!(Machine::new(s(0)).look(s(0), &NEW), Radio::AccessPoint);
        let knows = Facts { known_networks: true, ..NEW };
        assert_eq!(Machine::new(s(0)).look(s(59), &knows), Radio::Client);
        assert_eq!(Machine::new(s(0)).look(s(60), &knows), Radio::AccessPoint);
    }

    #[test]
    fn who_joins_a_network_gets_the_access_point_back_when_that_fails() {
        let mut machine = Machine::new(s(0));
        machine.look(s(0), &NEW);
        machine.join(s(10), &NEW);
        assert_eq!(machine.look(s(10), &NEW), Radio::Client);
        assert_eq!(machine.look(s(20), &NEW), Radio::Client);
        machine.give_back(s(22), &NEW);
        assert_eq!(machine.radio(), Radio::AccessPoint);
        // Nobody says how it ended: the radio comes back by itself.
        machine.join(s(40), &NEW);
        assert_eq!(machine.look(s(64), &NEW), Radio::Client);
        assert_eq!(machine.look(s(66), &NEW), Radio::AccessPoint);
    }

    #[test]
    fn with_two_radios_the_access_point_stays_while_a_network_is_joined() {
        let two = Facts { radios: Radios::Two, ..NEW };
        let mut machine = Machine::new(s(0));
        machine.look(s(0), &two);
        machine.join(s(10), &two);
        assert_eq!(machine.look(s(11), &two), Radio::AccessPoint);
        machine.joined(s(20));
        assert_eq!(machine.look(s(41), &ONLINE), Radio::Client);
    }

    #[test]
    fn a_token_that_is_given_takes_one_radio_online_for_a_while() {
        let knows = Facts { known_networks: true, ..NEW };
        let mut machine = Machine::new(s(0));
        machine.look(s(60), &knows);
        assert_eq!(machine.radio(), Radio::AccessPoint);
        machine.go_online(s(100), &knows);
        assert_eq!(machine.look(s(139), &knows), Radio::Client);
        assert_eq!(machine.look(s(140), &knows), Radio::AccessPoint);
        // Where nothing is known, or another radio is the client, the access point stays.
        for facts in [NEW, Facts { radios: Radios::Two, ..knows }] {
            machine.go_online(s(200), &facts);
            assert_eq!(machine.look(s(200), &facts), Radio::AccessPoint);
        }
    }

    #[test]
    fn a_network_that_was_joined_has_its_time_unless_it_is_given_back_before() {
        for (given_back_at, back_at) in [(None, 60), (Some(25), 25)] {
            let mut machine = Machine::new(s(0));
            machine.look(s(0), &NEW);
            machine.join(s(10), &NEW);
            machine.joined(s(20));
            let back = (21..200).find(|&second| {
                if given_back_at == Some(second) {
                    machine.give_back(s(second), &NEW);
                }
                machine.look(s(second), &NEW) == Radio::AccessPoint
            });
            assert_eq!(back, Some(back_at));
        }
    }

    #[test]
    fn known_networks_are_tried_while_nobody_is_on_the_access_point() {
        let knows = Facts { known_networks: true, ..OFFLINE };
        let mut machine = Machine::new(s(0));
        let on: Vec<bool> = (0..900)
            .map(|second| {
                let guests = u32::from((120..200).contains(&second));
                machine.look(s(second), &Facts { guests, ..knows }) == Radio::AccessPoint
            })
            .collect();
        let changes: Vec<usize> = (1..900).filter(|&second| on[second] != on[second - 1]).collect();
        assert_eq!(changes, [60, 500, 540, 840, 880], "five minutes after the last guest left, for forty seconds");
    }

    #[test]
    fn a_stream_that_begins_does_not_wait() {
        let mut machine = Machine::new(s(0));
        assert_eq!(machine.look(s(0), &NEW), Radio::AccessPoint);
        assert_eq!(machine.look(s(1), &Facts { streaming: true, ..NEW }), Radio::Client);
    }

    #[derive(Debug, Clone, Copy)]
    enum Event {
        Facts { internet: bool, relay: bool, guests: u32, known: bool },
        Stream(bool),
        Enrol(bool),
        Radios(Radios),
        Join,
        Failed,
        Joined,
        Token,
    }

    fn events() -> impl Strategy<Value = Vec<(u64, Event)>> {
        let facts =
            (any::<bool>(), any::<bool>(), 0u32..2, any::<bool>()).prop_map(|(internet, relay, guests, known)| {
                Event::Facts { internet, relay: relay && internet, guests, known }
            });
        let event = prop_oneof![
            6 => facts,
            2 => any::<bool>().prop_map(Event::Stream),
            1 => any::<bool>().prop_map(Event::Enrol),
            1 => prop_oneof![Just(Radios::One), Just(Radios::Two)].prop_map(Event::Radios),
            2 => Just(Event::Join),
            1 => Just(Event::Failed),
            1 => Just(Event::Joined),
            1 => Just(Event::Token),
        ];
        proptest::collection::vec((1u64..200, event), 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn there_is_always_a_way_in_never_beside_a_stream_and_nothing_flaps(events in events()) {
            let (mut machine, mut facts, mut now) = (Machine::new(s(0)), NEW, 0);
            let (mut shut, mut own_change) = (0, None);
            for (seconds, event) in events {
                match event {
                    Event::Facts { internet, relay, guests, known } => {
                        facts = Facts { internet, relay, guests, known_networks: known, ..facts };
                    }
                    Event::Stream(streaming) => facts.streaming = streaming,
                    Event::Enrol(enrolled) => facts.enrolled = enrolled,
                    Event::Radios(radios) => facts.radios = radios,
                    Event::Join => machine.join(s(now), &facts),
                    Event::Failed => machine.give_back(s(now), &facts),
                    Event::Joined => machine.joined(s(now)),
                    Event::Token => machine.go_online(s(now), &facts),
                }
                if matches!(event, Event::Join | Event::Joined | Event::Token) {
                    // Whoever asks for something is there, and waits for it.
                    shut = 0;
                }
                for _ in 0..seconds {
                    now += 1;
                    let before = machine.radio();
                    let after = machine.look(s(now), &facts);
                    prop_assert!(after == Radio::Client || !facts.streaming, "beside a stream at {now}");
                    if before != after && !facts.streaming {
                        prop_assert!(own_change.is_none_or(|at| now - at >= HOLD.as_secs()), "flaps at {now}");
                    }
                    if before != after {
                        own_change = Some(now);
                    }
                    let way_in = after == Radio::AccessPoint || facts.internet || facts.streaming;
                    shut = if way_in { 0 } else { shut + 1 };
                    prop_assert!(shut <= (GRACE + HOLD + TRY).as_secs(), "nobody gets in for {shut} s at {now}");
                }
            }
        }
    }
}
