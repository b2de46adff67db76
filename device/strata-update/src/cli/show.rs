//! The status as people read it.

use std::fmt::Write;

use strata_control::{SlotState, SlotStatus, UpdateProgress, UpdateStep};
use strata_update_protocol::Status;

use crate::image::letter;

/// The whole status, several lines.
#[must_use]
pub fn status(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        writeln!(text, "{line}").expect("a string takes all");
    };
    line(format!("Runs:    {} from slot {}", status.version, letter(status.booted)));
    for each in &status.slots {
        line(slot(each));
    }
    line(
        status
            .update
            .as_ref()
            .map_or_else(|| "Update:  none so far".to_owned(), |update| format!("Update:  {}", progress(update))),
    );
    for problem in &status.problems {
        line(format!("Problem: {}", problem.message));
    }
    text
}

fn slot(slot: &SlotStatus) -> String {
    let state = match slot.state {
        SlotState::Good => "good",
        SlotState::Bad => "bad",
        SlotState::Untested => "not tried",
        SlotState::Other => "unknown",
    };
    let version = slot.version.as_deref().unwrap_or("nothing known");
    let runs = if slot.booted { ", runs" } else { "" };
    let reason = slot.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("Slot {}:  {version}, {state}{runs}{reason}", letter(slot.name))
}

/// How far an update is, one line.
#[must_use]
pub fn progress(update: &UpdateProgress) -> String {
    let (version, slot) = (&update.version, letter(update.slot));
    let error = update.error.as_deref().unwrap_or("no reason is known");
    match update.step {
        UpdateStep::Waiting => format!("{version} waits until it may be installed"),
        UpdateStep::Downloading => format!("{version} is written to slot {slot}, {} %", update.percent),
        UpdateStep::Installed => format!("{version} is installed in slot {slot}; the reboot waits until it may be"),
        UpdateStep::RebootPending => format!("{version} is in slot {slot}; the device reboots"),
        UpdateStep::Verifying => format!("{version} runs from slot {slot} and checks itself"),
        UpdateStep::Good => format!("{version} is good"),
        UpdateStep::RolledBack => format!("{version} was rejected: {error}"),
        UpdateStep::Refused => format!("{version} was not installed: {error}"),
        UpdateStep::Other => format!("{version} is at a step that this command does not know"),
    }
}

#[cfg(test)]
mod tests {
    use strata_control::{DeviceProblem, DeviceProblemKind, SlotName};

    use super::*;

    #[test]
    fn a_status_tells_all_that_a_support_person_needs() {
        let slot = |name, booted, state, reason: Option<&str>| SlotStatus {
            name,
            booted,
            state,
            version: Some(if booted { "0.1.0" } else { "0.2.0" }.to_owned()),
            reason: reason.map(str::to_owned),
        };
        let text = status(&Status {
            version: "0.1.0".to_owned(),
            booted: SlotName::A,
            slots: vec![
                slot(SlotName::A, true, SlotState::Good, None),
                slot(SlotName::B, false, SlotState::Bad, Some("Its kernel is missing.")),
            ],
            update: Some(UpdateProgress {
                version: "0.2.0".to_owned(),
                slot: SlotName::B,
                percent: 100,
                step: UpdateStep::RolledBack,
                error: Some("Its kernel is missing.".to_owned()),
            }),
            problems: vec![DeviceProblem { kind: DeviceProblemKind::Data, message: "The disk is full.".to_owned() }],
        });
        assert_eq!(
            text,
            "Runs:    0.1.0 from slot A\n\
             Slot A:  0.1.0, good, runs\n\
             Slot B:  0.2.0, bad: Its kernel is missing.\n\
             Update:  0.2.0 was rejected: Its kernel is missing.\n\
             Problem: The disk is full.\n"
        );
    }
}
