//! What must survive a reboot: `STATE_DIR/state.json`.
//!
//! Owns the file's content and replacing it as a whole. A damaged file is set
//! aside and said so; the device then runs as one that was never updated. Does
//! not own what follows from a state ([`crate::state`]).

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strata_control::SlotName;
use strata_update_protocol::Install;

use crate::check::Step;
use crate::files;
use crate::state::{Machine, Start};

/// The content's version; a daemon reads older ones and its own.
const FORMAT: u8 = 1;

/// The newest update.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// How far it is.
    pub machine: Machine,
    /// What was asked for; none when going back was.
    pub asked: Option<Install>,
    /// Its version; until the bundle was looked into what was asked for, `unknown` without.
    pub version: String,
    /// The slot it goes to.
    pub target: SlotName,
    /// The slot that ran when it was asked for.
    pub source: SlotName,
    /// The boot in which the state was last written by a running daemon.
    pub boot: String,
    /// The boot in which it was installed; none before.
    #[serde(default)]
    pub installed_in: Option<String>,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// How far the check came.
    #[serde(default)]
    pub verify_step: Option<Step>,
    /// What went wrong, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What is known of a slot's content, from the day it was written there.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SlotNote {
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether it was called good.
    #[serde(default)]
    pub called_good: bool,
    /// Why it is bad, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// How often both slots had used up their attempts.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Rounds {
    /// As U-Boot counts: from 9 on from the beginning again.
    pub count: u32,
    /// The boot in which it had changed.
    #[serde(default)]
    pub grown_in: Option<String>,
}

impl Rounds {
    /// As of this boot, with U-Boot's count now; none when there is nothing new. Every other number is a new round.
    #[must_use]
    pub fn counted(&self, count: u32, boot: &str) -> Option<Self> {
        (count != self.count).then(|| Self { count, grown_in: Some(boot.to_owned()) })
    }
}

/// Everything in the file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Persisted {
    /// The content's version.
    pub format: u8,
    /// The slot that was last called good; none on a device that never called one.
    #[serde(default)]
    pub expected: Option<SlotName>,
    /// Slot A.
    #[serde(default)]
    pub a: SlotNote,
    /// Slot B.
    #[serde(default)]
    pub b: SlotNote,
    /// Rounds of U-Boot's.
    #[serde(default)]
    pub rounds: Rounds,
    /// The newest update.
    #[serde(default)]
    pub update: Option<Record>,
}

impl Persisted {
    /// What is known of a slot.
    #[must_use]
    pub fn note(&self, slot: SlotName) -> &SlotNote {
        match slot {
            SlotName::A => &self.a,
            SlotName::B => &self.b,
        }
    }

    /// As [`Self::note`], to be changed.
    pub fn note_mut(&mut self, slot: SlotName) -> &mut SlotNote {
        match slot {
            SlotName::A => &mut self.a,
            SlotName::B => &mut self.b,
        }
    }

    /// The newest update's state.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.update.as_ref().map_or_else(Machine::default, |update| update.machine)
    }

    /// How a start in `booted`, in the boot of this name, looks from here.
    #[must_use]
    pub fn start(&self, booted: SlotName, boot: &str) -> Start {
        use crate::state::State::{Idle, Refused};
        let unexpected = self.expected.is_some_and(|expected| expected != booted);
        let Some(update) = &self.update else {
            return Start { on_target: unexpected, new_boot: true, unproven: false };
        };
        let is_target = update.target == booted;
        let never_good = update.machine.state == Refused && !self.note(booted).called_good;
        Start {
            // Where nothing is under way, what counts is the slot that ran well before.
            on_target: if matches!(update.machine.state, Idle | Refused) { unexpected } else { is_target },
            new_boot: update.boot != boot,
            unproven: is_target && (update.installed_in.is_some() || never_good),
        }
    }
}

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The file in this folder.
    #[must_use]
    pub fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join("state.json") }
    }

    /// Reads it. A second value says that the file was damaged, for people; it is set aside then.
    #[must_use]
    pub fn load(&self) -> (Persisted, Option<String>) {
        let (content, damage) = self.peek();
        if damage.is_some()
            && let Err(error) = std::fs::rename(&self.path, self.path.with_extension("damaged"))
        {
            tracing::warn!("{} cannot be set aside: {error}", self.path.display());
        }
        (content, damage)
    }

    /// As [`Self::load`], and touches nothing.
    #[must_use]
    pub fn peek(&self) -> (Persisted, Option<String>) {
        let fresh = || Persisted { format: FORMAT, ..Persisted::default() };
        let read = files::read_json::<Persisted>(&self.path).and_then(|content| match content {
            Some(content) if content.format > FORMAT => {
                anyhow::bail!("{} was written by a newer system", self.path.display())
            }
            content => Ok(content),
        });
        match read {
            Ok(content) => (content.unwrap_or_else(fresh), None),
            Err(error) => {
                let damage = format!("{error:#}: what the update daemon knew of former updates is lost.");
                (fresh(), Some(damage))
            }
        }
    }

    /// Replaces it; makes the folder where it is missing.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, content: &Persisted) -> anyhow::Result<()> {
        if let Some(folder) = self.path.parent()
            && !folder.exists()
        {
            std::fs::create_dir_all(folder)
                .map_err(|error| anyhow::anyhow!("cannot make the folder {}: {error}", folder.display()))?;
        }
        files::replace_json(&self.path, content)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::state::State;

    fn record(state: State) -> Record {
        Record {
            machine: Machine::at(state),
            asked: None,
            version: "0.2.0".to_owned(),
            target: SlotName::B,
            source: SlotName::A,
            boot: "boot1".to_owned(),
            installed_in: None,
            asked_at: Timestamp::UNIX_EPOCH,
            changed_at: Timestamp::UNIX_EPOCH,
            verify_step: None,
            reason: None,
        }
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("update"));
        assert_eq!(store.load(), (Persisted { format: FORMAT, ..Persisted::default() }, None));
        let mut content = store.load().0;
        content.update = Some(record(State::Verifying));
        content.note_mut(SlotName::B).reason = Some("why".to_owned());
        store.save(&content).unwrap();
        assert_eq!(store.load(), (content, None));
    }

    #[test]
    fn a_damaged_file_and_one_of_the_future_are_set_aside() {
        for (text, part) in [("{\"format\": 1, ", "damaged"), ("{\"format\": 200}", "newer system"), ("", "damaged")] {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::new(folder.path());
            fs::write(folder.path().join("state.json"), text).unwrap();
            let (content, trouble) = store.load();
            assert_eq!(content.update, None);
            assert!(trouble.unwrap().contains(part), "{text}");
            assert_eq!(fs::read_to_string(folder.path().join("state.damaged")).unwrap(), text);
            assert_eq!(store.load().1, None);
        }
    }

    #[test]
    fn a_folder_that_takes_nothing_is_named() {
        // A file where the folder should be: refused for root, too.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("update"), "").unwrap();
        let store = Store::new(&folder.path().join("update"));
        let message = format!("{:#}", store.save(&Persisted::default()).unwrap_err());
        assert!(message.contains("update/state"), "{message}");
    }

    #[test]
    fn a_start_is_seen_from_the_update_under_way_or_from_the_slot_that_ran_well() {
        let start = |state: Option<State>, expected, booted, boot| {
            let content = Persisted { expected, update: state.map(record), ..Persisted::default() };
            let start = content.start(booted, boot);
            (start.on_target, start.new_boot)
        };
        use SlotName::{A, B};
        // A device's first boot, in whichever slot.
        assert_eq!(start(None, None, B, "boot1"), (false, true));
        assert_eq!(start(None, Some(A), B, "boot1"), (true, true));
        assert_eq!(start(Some(State::Refused), Some(B), B, "boot1"), (false, false));
        assert_eq!(start(Some(State::Refused), Some(B), A, "boot2"), (true, true));
        assert_eq!(start(Some(State::Verifying), Some(A), B, "boot2"), (true, true));
        assert_eq!(start(Some(State::Downloading), Some(A), A, "boot1"), (false, false));
    }

    #[test]
    fn a_slot_is_unproven_where_an_update_may_have_written_to_it_or_it_never_ran_well() {
        use SlotName::{A, B};
        let unproven = |state, installed_in: Option<&str>, called_good, booted| {
            let update = Record { installed_in: installed_in.map(str::to_owned), ..record(state) };
            let b = SlotNote { called_good, ..SlotNote::default() };
            let content = Persisted { expected: Some(A), b, update: Some(update), ..Persisted::default() };
            content.start(booted, "boot2").unproven
        };
        assert!(unproven(State::Refused, Some("boot1"), true, B));
        assert!(unproven(State::Refused, None, false, B));
        assert!(!unproven(State::Refused, None, true, B), "the system before, which nothing has touched");
        assert!(!unproven(State::Refused, Some("boot1"), false, A));
        assert!(unproven(State::Waiting, Some("boot1"), true, B));
        assert!(!unproven(State::Waiting, None, false, B));
    }

    #[test]
    fn u_boots_count_of_rounds_begins_anew_after_nine() {
        let nine = Rounds { count: 9, grown_in: None };
        assert_eq!(nine.counted(9, "boot2"), None);
        for count in [1, 0, 10] {
            assert_eq!(nine.counted(count, "boot2"), Some(Rounds { count, grown_in: Some("boot2".to_owned()) }));
        }
    }
}
