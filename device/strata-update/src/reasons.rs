//! Why a system was left, in one sentence a support person understands.
//!
//! Pure: made from what U-Boot passed on, what the daemon had written down and
//! what was seen. Does not own the reasons of a refused install ([`crate::messages`]).

use strata_control::{DeviceProblem, DeviceProblemKind, SlotName};

use crate::check::Step;
use crate::image::{Boot, Skipped, letter};

/// How often U-Boot starts a slot that does not call itself good (`docs/device/boot.md`).
pub const ATTEMPTS: u8 = 3;

/// What was known of the system that was left.
#[derive(Clone, Copy, Debug)]
pub struct Left<'a> {
    /// Its slot.
    pub slot: SlotName,
    /// Its version, where that is known.
    pub version: Option<&'a str>,
    /// Whether it had run well before.
    pub was_good: bool,
    /// How far its check had come.
    pub verify_step: Option<Step>,
}

/// Why the device runs from another slot than it should.
#[must_use]
pub fn fall_back(boot: &Boot, left: Left<'_>) -> String {
    let name = match (left.version, left.was_good) {
        (Some(version), true) => format!("The system {version} in slot {}", letter(left.slot)),
        (Some(version), false) => format!("The new system {version} in slot {}", letter(left.slot)),
        (None, _) => format!("The system in slot {}", letter(left.slot)),
    };
    if let Some(skipped) = boot.skipped.iter().find(|skipped| skipped.slot == left.slot) {
        return format!("{name} could not be started: {}.", passed_over(skipped));
    }
    match left.verify_step {
        Some(step) => format!(
            "{name} was started {ATTEMPTS} times and never called itself good: it crashed or hung while its check waited for {}.",
            step.awaits()
        ),
        None if left.was_good => format!(
            "{name}, which had run well before, was started {ATTEMPTS} times and never reported back: it crashed or hung."
        ),
        None => format!(
            "{name} was started {ATTEMPTS} times and never reported back: it crashed or hung before its own check."
        ),
    }
}

/// U-Boot's word for why it passed a slot over, for people.
fn passed_over(skipped: &Skipped) -> String {
    match skipped.why.as_str() {
        "partition-missing" => "its partition is missing".to_owned(),
        "kernel-missing" => "its kernel is missing (boot/Image)".to_owned(),
        "initrd-missing" => "its initial RAM disk is missing (boot/initrd)".to_owned(),
        "devicetree-missing" => "its device tree is missing (boot/dtb)".to_owned(),
        "kernel-refused" => {
            "the boot loader did not accept its kernel, which is damaged or built for another device".to_owned()
        }
        other => format!("the boot loader passed it over ({other})"),
    }
}

/// What was odd about this boot.
#[must_use]
pub fn boot_problems(boot: &Boot, rounds_grew: bool) -> Vec<DeviceProblem> {
    let problem = |message| DeviceProblem { kind: DeviceProblemKind::Boot, message };
    let passed = boot.skipped.iter().map(|skipped| {
        let slot = letter(skipped.slot);
        let why = passed_over(skipped);
        problem(format!("Slot {slot} could not be started: {why}. Install an update to repair it."))
    });
    let round = rounds_grew.then(|| {
        problem(format!(
            "Both slots had used up their attempts; all were given back, and slot {} runs. \
             The power was cut several times while the device started, or both systems are damaged: if it happens again, install an update.",
            letter(boot.slot)
        ))
    });
    passed.chain(round).collect()
}

/// The former system does not boot, so the rejected one runs.
#[must_use]
pub fn rejected_runs(boot: &Boot, reason: Option<&str>) -> DeviceProblem {
    let reason = reason.unwrap_or("its check failed");
    let message = format!(
        "The device runs from slot {}, which had been rejected ({}), because the other slot does not start: install an update.",
        letter(boot.slot),
        reason.trim_end_matches('.')
    );
    DeviceProblem { kind: DeviceProblemKind::Boot, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot(skipped: &str) -> Boot {
        Boot::parse(&format!("rauc.slot=A strata.skipped={skipped}"), "0").unwrap()
    }

    #[test]
    fn each_way_of_falling_back_has_its_sentence() {
        let new = Left { slot: SlotName::B, version: Some("0.2.0"), was_good: false, verify_step: None };
        for (skipped, left, part) in [
            ("B:kernel-missing,", new, "0.2.0 in slot B could not be started: its kernel is missing"),
            ("B:initrd-missing,", new, "RAM disk is missing"),
            ("B:devicetree-missing,", new, "device tree"),
            ("B:partition-missing,", new, "partition is missing"),
            ("B:kernel-refused,", new, "did not accept its kernel"),
            ("B:moon-phase,", new, "(moon-phase)"),
            ("", new, "was started 3 times and never reported back: it crashed or hung before its own check."),
            ("A:kernel-missing,", new, "never reported back"),
            ("", Left { verify_step: Some(Step::Encoder), ..new }, "while its check waited for real pictures"),
            ("", Left { was_good: true, ..new }, "which had run well before"),
            ("", Left { version: None, ..new }, "The system in slot B was started 3 times"),
        ] {
            let sentence = fall_back(&boot(skipped), left);
            assert!(sentence.contains(part), "{sentence}");
            assert_eq!(sentence.matches(". ").count(), 0, "one sentence: {sentence}");
        }
    }

    #[test]
    fn odd_boots_are_problems() {
        assert_eq!(boot_problems(&boot(""), false), []);
        let problems = boot_problems(&boot("B:kernel-missing,"), true);
        assert!(problems[0].message.contains("Slot B could not be started: its kernel"), "{problems:?}");
        assert!(problems[1].message.starts_with("Both slots had used up their attempts; "), "{problems:?}");
        let problem = rejected_runs(&boot(""), Some("The encoder failed."));
        assert!(
            problem.message.contains("slot A, which had been rejected (The encoder failed), because"),
            "{problem:?}"
        );
    }
}
