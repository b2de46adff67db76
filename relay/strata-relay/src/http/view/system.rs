//! The device's image in words: its slots, its updates, and what is wrong with it.

use strata_control::{
    AgentInfo, DeviceProblem, DeviceProblemKind, DeviceStatus, SlotName, SlotState, SlotStatus, UpdateProgress,
    UpdateStep,
};
use strata_fleet::{DeviceUpdateView, DeviceView};
use strata_web::format;

use super::{Badge, Fact, minute, words};

/// What runs on the device, and what it could go back to.
pub(in crate::http) struct System {
    pub(in crate::http) facts: Vec<Fact>,
    pub(in crate::http) slots: Vec<SlotRow>,
    pub(in crate::http) update: Option<UpdateLine>,
}

pub(in crate::http) struct SlotRow {
    pub(in crate::http) name: &'static str,
    pub(in crate::http) version: String,
    pub(in crate::http) state: Badge,
    pub(in crate::http) running: bool,
    /// Why it is bad, as far as that is known.
    pub(in crate::http) reason: Option<String>,
}

/// The newest update, as the device tells of it.
pub(in crate::http) struct UpdateLine {
    pub(in crate::http) title: String,
    pub(in crate::http) step: Badge,
    /// How far it is, while it is under way.
    pub(in crate::http) percent: Option<u8>,
    /// What is in its way, or why it was refused. Why one was rolled back stands above the page, and in the history.
    pub(in crate::http) error: Option<String>,
}

/// An attempt in the history.
pub(in crate::http) struct UpdateRow {
    pub(in crate::http) version: String,
    pub(in crate::http) slot: &'static str,
    pub(in crate::http) step: Badge,
    pub(in crate::http) began: String,
    pub(in crate::http) changed: String,
    pub(in crate::http) error: String,
}

/// Something that somebody has to look at.
pub(in crate::http) struct Trouble {
    /// The notice's colour: `bad` or `warn`.
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) title: String,
    pub(in crate::http) text: String,
}

impl System {
    pub(super) fn new(device: &DeviceView) -> Self {
        let status = device.status.as_ref();
        let slots = status.map_or(&[][..], |status| &status.slots);
        let booted = slots.iter().find(|slot| slot.booted);
        Self {
            facts: facts(device.agent.as_ref(), booted),
            slots: slots.iter().map(SlotRow::new).collect(),
            update: status.and_then(|status| status.update.as_ref()).map(UpdateLine::new),
        }
    }
}

/// What the running slot says is newer than what the device said at its login.
fn facts(agent: Option<&AgentInfo>, booted: Option<&SlotStatus>) -> Vec<Fact> {
    let image = booted.and_then(|slot| slot.version.clone()).or_else(|| agent?.image_version.clone());
    let slot = booted.map(|slot| slot.name).or_else(|| agent?.booted_slot);
    let mut facts: Vec<Fact> = image.map(|version| Fact::new("Image", version)).into_iter().collect();
    facts.extend(slot.map(|slot| Fact::new("Runs from", slot_name(slot))));
    if let Some(agent) = agent {
        facts.push(Fact::new("Agent", agent.agent_version.clone()));
        facts.push(Fact::new("Host name", agent.hostname.clone()));
        facts.push(Fact::new("Processor type", agent.arch.clone()));
    }
    facts
}

impl SlotRow {
    fn new(slot: &SlotStatus) -> Self {
        let bad = slot.state == SlotState::Bad;
        let unknown = || "The device does not say why.".to_owned();
        Self {
            name: slot_name(slot.name),
            version: slot.version.clone().unwrap_or_else(|| format::UNKNOWN.into()),
            state: words::slot_state(slot.state),
            running: slot.booted,
            reason: bad.then(|| slot.reason.as_deref().map_or_else(unknown, sentence)),
        }
    }
}

impl UpdateLine {
    fn new(update: &UpdateProgress) -> Self {
        Self {
            title: format!("Update to {}, slot {}", update.version, slot_letter(update.slot)),
            step: words::update_step(update.step),
            percent: is_under_way(update.step).then_some(update.percent.min(100)),
            error: update.error.as_deref().filter(|_| update.step != UpdateStep::RolledBack).map(sentence),
        }
    }
}

impl UpdateRow {
    pub(in crate::http) fn new(update: &DeviceUpdateView) -> Self {
        Self {
            version: update.version.clone(),
            slot: slot_letter(update.slot),
            step: words::update_step(update.step),
            began: minute(update.started_at),
            changed: minute(update.changed_at),
            error: update.error.as_deref().map(sentence).unwrap_or_default(),
        }
    }
}

/// What is wrong with the device, the worst first; then an update that was rolled back. A refused one changed nothing
/// on the device, and stays its newest for good if nobody wants another: its badge and the history tell of it.
pub(super) fn troubles(status: Option<&DeviceStatus>) -> Vec<Trouble> {
    let Some(status) = status else { return Vec::new() };
    let mut troubles: Vec<Trouble> = status.problems.iter().map(problem).collect();
    if let Some(update) = status.update.as_ref().filter(|update| update.step == UpdateStep::RolledBack) {
        let title = format!("The update to {} was rolled back.", update.version);
        let unknown = || "The device does not say why.".to_owned();
        let text = update.error.as_deref().map_or_else(unknown, sentence);
        troubles.push(Trouble { kind: "warn", title, text });
    }
    troubles
}

fn problem(problem: &DeviceProblem) -> Trouble {
    let title = match problem.kind {
        DeviceProblemKind::Data => "Something is wrong with its data partition.",
        DeviceProblemKind::Identity => "Something is wrong with its identity partition.",
        DeviceProblemKind::Boot => "It did not boot as it should.",
        DeviceProblemKind::Settings => "One of its settings cannot be followed.",
        DeviceProblemKind::Other => "Something is wrong with the device.",
    };
    Trouble { kind: "bad", title: title.to_owned(), text: sentence(&problem.message) }
}

/// What is to be seen wherever the device is named: problems, and the newest update unless it is good.
pub(super) fn badges(status: Option<&DeviceStatus>) -> Vec<Badge> {
    let Some(status) = status else { return Vec::new() };
    let mut badges = Vec::new();
    match status.problems.len() {
        0 => {}
        1 => badges.push(Badge::new("bad", "Problem")),
        count => badges.push(Badge::new("bad", format!("{count} problems"))),
    }
    let Some(update) = &status.update else { return badges };
    badges.extend(match update.step {
        UpdateStep::Good | UpdateStep::Other => None,
        UpdateStep::RolledBack => Some(Badge::new("warn", "Update rolled back")),
        UpdateStep::Refused => Some(Badge::new("warn", "Update refused")),
        UpdateStep::Waiting => Some(Badge::new("busy", "Update waits")),
        UpdateStep::Downloading => Some(Badge::new("busy", format!("Updating, {} %", update.percent.min(100)))),
        UpdateStep::Installed | UpdateStep::RebootPending | UpdateStep::Verifying => {
            Some(Badge::new("busy", "Updating"))
        }
    });
    badges
}

fn is_under_way(step: UpdateStep) -> bool {
    matches!(step, UpdateStep::Downloading | UpdateStep::Installed | UpdateStep::RebootPending | UpdateStep::Verifying)
}

fn slot_name(slot: SlotName) -> &'static str {
    match slot {
        SlotName::A => "Slot A",
        SlotName::B => "Slot B",
    }
}

fn slot_letter(slot: SlotName) -> &'static str {
    match slot {
        SlotName::A => "A",
        SlotName::B => "B",
    }
}

/// A device's words as a sentence: messages of programs begin small and end without a stop.
pub(in crate::http) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return String::new() };
    let stop = if text.ends_with(['.', '!', '?', '…', ':']) { "" } else { "." };
    format!("{}{}{stop}", first.to_uppercase(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_programs_become_sentences() {
        for (said, shown) in [
            ("slot B did not boot: kernel panic", "Slot B did not boot: kernel panic."),
            (" Both are bad. ", "Both are bad."),
            ("", ""),
            ("é", "É."),
        ] {
            assert_eq!(sentence(said), shown);
        }
    }

    #[test]
    fn only_what_needs_somebody_is_a_trouble_and_only_what_is_not_over_well_is_marked() {
        let with = |step| DeviceStatus {
            update: Some(UpdateProgress {
                version: "1.4.0".into(),
                slot: SlotName::B,
                percent: 43,
                step,
                error: Some("no room".into()),
            }),
            ..DeviceStatus::default()
        };
        let table = [
            (UpdateStep::Waiting, 0, Some("Update waits")),
            (UpdateStep::Downloading, 0, Some("Updating, 43 %")),
            (UpdateStep::Installed, 0, Some("Updating")),
            (UpdateStep::RebootPending, 0, Some("Updating")),
            (UpdateStep::Verifying, 0, Some("Updating")),
            (UpdateStep::Good, 0, None),
            (UpdateStep::RolledBack, 1, Some("Update rolled back")),
            (UpdateStep::Refused, 0, Some("Update refused")),
            (UpdateStep::Other, 0, None),
        ];
        for (step, count, badge) in table {
            let status = with(step);
            let troubles = troubles(Some(&status));
            assert_eq!(troubles.len(), count, "{step:?}");
            assert!(troubles.iter().all(|trouble| trouble.text == "No room."), "{step:?}");
            let line = status.update.as_ref().map(UpdateLine::new).unwrap();
            assert_eq!(line.error.is_some(), count == 0, "{step:?}: the reason is told once");
            assert_eq!(badges(Some(&status)).first().map(|badge| badge.words.as_str()), badge, "{step:?}");
        }
        assert!(troubles(None).is_empty() && badges(None).is_empty());
    }
}
