//! Which packets on their way are sent again before anybody knows that they are lost.
//!
//! A repeat is cheap while few need one and useless when it comes too late. So a
//! packet is given up on a link that is silent; it gets a second copy when its link
//! is foreseen to deliver it too late; and when the last moment comes at which a copy
//! over another link would still arrive, what could have been acknowledged and was
//! not gets one as well.

use std::time::Duration;

use crate::stats::LinkState;

/// A packet foreseen to be so much too late is sent again at once, although there would be time later.
const FORESIGHT: Duration = Duration::from_millis(150);

/// How long a copy takes over the best of the other links.
#[derive(Debug, Clone, Copy)]
pub(super) struct Elsewhere {
    /// Until it arrives, with a margin.
    pub(super) once: Duration,
    /// With chances to see it fail and to send it again.
    pub(super) safely: Duration,
}

/// What is known of the link that carries a packet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carrier {
    pub(super) state: LinkState,
    /// Silent for so long that all it has had better go elsewhere.
    pub(super) hopeless: bool,
    /// What is on its way stands in a queue that is long for this latency.
    pub(super) stands: bool,
    /// The round trip without a queue.
    pub(super) round_trip: Duration,
}

/// A packet on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Since it was sent.
    pub(super) age: Duration,
    /// Until it is too late.
    pub(super) left: Duration,
    /// Until it is foreseen to arrive.
    pub(super) arrives: Duration,
}

/// What to do with a packet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing, nor with those sent later.
    Rest,
    /// Nothing yet.
    Wait,
    /// Send it again.
    Again,
    /// Send it again if that can be afforded: it may well arrive.
    IfSpare,
}

impl Carrier {
    pub(super) fn judge(&self, case: &Case, elsewhere: &Elsewhere) -> Verdict {
        let last_chance = case.left <= elsewhere.safely;
        if self.state == LinkState::Suspect {
            // What cannot be answered in time has no chance to lose: a moment's doubt would repeat all that is on its way.
            let answerable = self.round_trip < case.age + case.left;
            return if self.hopeless || (last_chance && answerable) { Verdict::Again } else { Verdict::Rest };
        }
        if !last_chance && !self.stands {
            return Verdict::Rest;
        }
        let late = self.stands && case.arrives > case.left + if last_chance { Duration::ZERO } else { FORESIGHT };
        let unanswered = case.left <= elsewhere.once && case.age > self.round_trip;
        if late || unanswered { Verdict::IfSpare } else { Verdict::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ELSEWHERE: Elsewhere = Elsewhere { once: Duration::from_millis(70), safely: Duration::from_millis(200) };

    fn carrier(state: LinkState, hopeless: bool, stands: bool) -> Carrier {
        Carrier { state, hopeless, stands, round_trip: MS * 100 }
    }

    #[test]
    fn every_case_has_its_verdict() {
        use LinkState::{Suspect, Up};
        use Verdict::{Again, IfSpare, Rest, Wait};
        // State, hopeless, stands; age, left, arrives.
        let table = [
            (Up, false, false, 10, 400, 50, Rest),
            (Up, false, false, 150, 180, 900, Wait),
            (Up, false, false, 90, 60, 20, Wait),
            (Up, false, false, 150, 60, 20, IfSpare),
            (Up, false, true, 150, 400, 500, Wait),
            (Up, false, true, 150, 400, 600, IfSpare),
            (Up, false, true, 150, 180, 170, Wait),
            (Up, false, true, 150, 180, 190, IfSpare),
            (Suspect, false, false, 150, 400, 20, Rest),
            (Suspect, false, false, 150, 180, 20, Again),
            (Suspect, true, false, 150, 400, 20, Again),
            (Suspect, false, false, 40, 50, 20, Rest),
            (Suspect, true, false, 40, 50, 20, Again),
        ];
        for (state, hopeless, stands, age, left, arrives, verdict) in table {
            let case = Case { age: MS * age, left: MS * left, arrives: MS * arrives };
            let carrier = carrier(state, hopeless, stands);
            assert_eq!(carrier.judge(&case, &ELSEWHERE), verdict, "{carrier:?} {case:?}");
        }
    }
}
