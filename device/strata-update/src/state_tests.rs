//! The tables: every state with every event, and every state with every kind of start.

use super::Action::{
    AwaitReboot, CallGood, Confirm, Install, Prepare, Reboot, Reject, Settle, Switch, TakeBack, Verify,
};
use super::State::{
    Downloading, Good, Idle, Installed, RebootPending, Refused, RolledBack, Switching, Verifying, Waiting,
};
use super::*;

const STATES: [State; 10] =
    [Idle, Waiting, Downloading, Installed, Switching, RebootPending, Verifying, Good, RolledBack, Refused];

const EVENTS: [Event; 11] = [
    Event::InstallAsked,
    Event::RollbackAsked,
    Event::Allowed,
    Event::Refused,
    Event::Installed,
    Event::Switched,
    Event::RebootDue,
    Event::Passed,
    Event::Failed,
    Event::Rejected,
    Event::Settled,
];

fn after_rollback(marked: bool, settled: bool) -> Machine {
    Machine { marked, settled, ..Machine::at(RolledBack) }
}

#[test]
fn every_state_meets_every_event() {
    // What is not in the table changes nothing.
    let table: &[(State, Event, State, &[Action])] = &[
        (Idle, Event::InstallAsked, Waiting, &[Prepare]),
        (Idle, Event::RollbackAsked, Switching, &[Switch]),
        // A newer order takes the place of one that only waits.
        (Waiting, Event::InstallAsked, Waiting, &[Prepare]),
        (Waiting, Event::RollbackAsked, Switching, &[Switch]),
        (Waiting, Event::Allowed, Downloading, &[Install]),
        (Waiting, Event::Refused, Refused, &[]),
        (Downloading, Event::Installed, Installed, &[AwaitReboot]),
        (Downloading, Event::Refused, Refused, &[]),
        (Installed, Event::RebootDue, RebootPending, &[Reboot]),
        (Switching, Event::Switched, RebootPending, &[Reboot]),
        (Switching, Event::Refused, Refused, &[]),
        (Verifying, Event::Passed, Good, &[CallGood]),
        (Verifying, Event::Failed, RolledBack, &[Reject]),
        (Good, Event::InstallAsked, Waiting, &[Prepare]),
        (Good, Event::RollbackAsked, Switching, &[Switch]),
        (RolledBack, Event::Rejected, RolledBack, &[Reboot]),
        (RolledBack, Event::Settled, RolledBack, &[]),
        (Refused, Event::InstallAsked, Waiting, &[Prepare]),
        (Refused, Event::RollbackAsked, Switching, &[Switch]),
    ];
    for state in STATES {
        for event in EVENTS {
            let listed = table.iter().find(|row| (row.0, row.1) == (state, event));
            let (expected, actions) = listed.map_or((state, [].as_slice()), |row| (row.2, row.3));
            let (next, done) = Machine::at(state).step(event);
            assert_eq!((next.state, done.as_slice()), (expected, actions), "{state:?} {event:?}");
        }
    }
}

#[test]
fn every_state_meets_every_start() {
    // State on the disk, on target, new boot; state then, actions.
    let table: &[(State, bool, bool, State, &[Action])] = &[
        (Idle, false, false, Idle, &[Confirm]),
        (Idle, false, true, Idle, &[Confirm]),
        (Idle, true, false, Idle, &[Settle, Confirm]),
        (Idle, true, true, Idle, &[Settle, Confirm]),
        (Waiting, false, false, Waiting, &[Confirm, Prepare]),
        (Waiting, false, true, Waiting, &[Confirm, Prepare]),
        (Waiting, true, false, Refused, &[Settle, Confirm]),
        (Waiting, true, true, Refused, &[Settle, Confirm]),
        (Downloading, false, false, Waiting, &[Confirm, Prepare]),
        (Downloading, false, true, Waiting, &[Confirm, Prepare]),
        (Downloading, true, false, Verifying, &[Verify]),
        (Downloading, true, true, Verifying, &[Verify]),
        (Installed, false, false, Installed, &[AwaitReboot]),
        (Installed, false, true, RolledBack, &[Settle, Confirm]),
        (Installed, true, false, Verifying, &[Verify]),
        (Installed, true, true, Verifying, &[Verify]),
        (Switching, false, false, Switching, &[Switch]),
        (Switching, false, true, Refused, &[Confirm]),
        (Switching, true, false, Verifying, &[Verify]),
        (Switching, true, true, Verifying, &[Verify]),
        (RebootPending, false, false, Installed, &[AwaitReboot]),
        (RebootPending, false, true, RolledBack, &[Settle, Confirm]),
        (RebootPending, true, false, Verifying, &[Verify]),
        (RebootPending, true, true, Verifying, &[Verify]),
        (Verifying, false, false, RolledBack, &[Settle, Confirm]),
        (Verifying, false, true, RolledBack, &[Settle, Confirm]),
        (Verifying, true, false, Verifying, &[Verify]),
        (Verifying, true, true, Verifying, &[Verify]),
        (Good, false, false, RolledBack, &[Settle, Confirm]),
        (Good, false, true, RolledBack, &[Settle, Confirm]),
        (Good, true, false, Good, &[Confirm]),
        (Good, true, true, Good, &[Confirm]),
        (RolledBack, false, false, RolledBack, &[Settle, Confirm]),
        (RolledBack, false, true, RolledBack, &[Settle, Confirm]),
        (RolledBack, true, false, RolledBack, &[Reject]),
        (RolledBack, true, true, RolledBack, &[Reject]),
        (Refused, false, false, Refused, &[Confirm]),
        (Refused, false, true, Refused, &[Confirm]),
        (Refused, true, false, Refused, &[Settle, Confirm]),
        (Refused, true, true, Refused, &[Settle, Confirm]),
    ];
    assert_eq!(table.len(), STATES.len() * 4);
    for (state, on_target, new_boot, expected, actions) in table {
        let start = Start { on_target: *on_target, new_boot: *new_boot, unproven: false };
        let (next, done) = Machine::at(*state).step(Event::Started(start));
        assert_eq!((next.state, done.as_slice()), (*expected, *actions), "{state:?} {start:?}");
    }
}

#[test]
fn an_install_that_the_power_cut_off_is_begun_anew_three_times_at_most() {
    let mut machine = Machine::at(Downloading);
    let start = Event::Started(Start { on_target: false, new_boot: true, unproven: false });
    for resumes in 1..=MOST_RESUMES {
        let (next, actions) = machine.step(start);
        assert_eq!((next.state, next.resumes), (Waiting, resumes));
        assert_eq!(actions, [Confirm, Prepare]);
        let (next, actions) = next.step(Event::Allowed);
        assert_eq!((next.state, next.resumes, actions.as_slice()), (Downloading, resumes, [Install].as_slice()));
        machine = next;
    }
    let (next, actions) = machine.step(start);
    // Refused only when RAUC can no longer make the slot the next to boot; however often that is begun anew.
    assert_eq!((next, actions.as_slice()), (machine, [Confirm, TakeBack].as_slice()));
    assert_eq!(next.step(start), (machine, vec![Confirm, TakeBack]));
    assert_eq!(next.step(Event::Refused), (Machine::at(Refused), vec![]));
}

#[test]
fn a_system_that_may_be_new_is_checked_whatever_was_thought_of_its_update() {
    for (state, on_target) in [(Waiting, true), (Refused, true), (Refused, false)] {
        let start = Start { on_target, new_boot: true, unproven: true };
        let (next, actions) = Machine::at(state).step(Event::Started(start));
        assert_eq!((next, actions.as_slice()), (Machine::at(Verifying), [Verify].as_slice()), "{state:?}");
    }
}

#[test]
fn a_rejection_is_carried_out_once_wherever_the_power_is_cut() {
    let on = |on_target| Event::Started(Start { on_target, new_boot: true, unproven: on_target });
    // Written down, not yet marked: the failed system boots again and rejects itself again.
    let (unmarked, actions) = Machine::at(Verifying).step(Event::Failed);
    assert_eq!(actions, [Reject]);
    assert_eq!(unmarked.step(on(true)).1, [Reject]);
    let (marked, _) = unmarked.step(Event::Rejected);
    // Marked, and yet it runs: the former system does not boot. The device must not go to and fro for ever.
    assert_eq!(marked.step(on(true)), (after_rollback(true, false), vec![Confirm]));
    let (_, actions) = marked.step(on(false));
    assert_eq!(actions, [Settle, Confirm]);
    let (settled, _) = marked.step(Event::Settled);
    assert_eq!(settled.step(on(false)), (after_rollback(true, true), vec![Confirm]));
}

#[test]
fn nothing_interferes_with_an_update_under_way() {
    for machine in [Downloading, Installed, Switching, RebootPending, Verifying, RolledBack].map(Machine::at) {
        assert!(machine.is_busy(), "{machine:?}");
        assert_eq!(machine.step(Event::InstallAsked), (machine, vec![]));
        assert_eq!(machine.step(Event::RollbackAsked), (machine, vec![]));
    }
    for machine in [Idle, Waiting, Good, Refused].map(Machine::at).into_iter().chain([after_rollback(true, true)]) {
        assert!(!machine.is_busy(), "{machine:?}");
        assert_eq!(machine.step(Event::InstallAsked).0, Machine::at(Waiting));
    }
}
