//! The settings file's content, and how it gets from one version to another.
//!
//! Every operation can be undone, for any values: what an operation takes away is kept under the version it belonged
//! to and returns with that version. Invariant: while the document is at version N, nothing is kept under N.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Keys that are set, with their values; what is not in it has its default.
pub type Values = BTreeMap<String, Value>;

/// What leads from one version to a neighbouring one. It touches each key at most once.
pub type Step = Vec<Operation>;

/// One reversible change.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// A key that was not there before.
    Add {
        /// Its name.
        key: String,
        /// What a device gets that comes from the version without it; without this, the schema's default is in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<Value>,
    },
    /// A key that is no more.
    Remove {
        /// Its name.
        key: String,
        /// What a device gets on the way back that never had a value for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<Value>,
    },
    /// A key's new name.
    Rename {
        /// The old one.
        from: String,
        /// The new one.
        to: String,
    },
    /// Other words for a key's values; a value that is not among them stays.
    Map {
        /// Its name.
        key: String,
        /// Before and after; no value twice on the same side.
        pairs: Vec<(Value, Value)>,
    },
}

impl Operation {
    /// What undoes it.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::Add { key, default } => Self::Remove { key, default },
            Self::Remove { key, default } => Self::Add { key, default },
            Self::Rename { from, to } => Self::Rename { from: to, to: from },
            Self::Map { key, pairs } => Self::Map { key, pairs: pairs.into_iter().map(|(a, b)| (b, a)).collect() },
        }
    }

    /// The keys that it reads or writes.
    #[must_use]
    pub fn keys(&self) -> Vec<&str> {
        match self {
            Self::Add { key, .. } | Self::Remove { key, .. } | Self::Map { key, .. } => vec![key],
            Self::Rename { from, to } => vec![from, to],
        }
    }
}

/// The inverse of a step.
#[must_use]
pub fn inverse(step: &Step) -> Step {
    step.iter().rev().map(Operation::inverse).collect()
}

/// The way from the newest version down to 1: the inverse steps, newest first.
#[must_use]
pub fn way_back(steps: &[Step]) -> VecDeque<Step> {
    steps.iter().rev().map(inverse).collect()
}

/// A document that cannot be brought to the wanted version.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum MigrateError {
    /// Versions begin at 1.
    #[error("its version is 0")]
    NoVersion,
    /// It is newer and does not say how to get back.
    #[error("it is of version {version} and holds no way back to version {wanted}")]
    NoWayBack {
        /// The document's.
        version: u32,
        /// The image's.
        wanted: u32,
    },
}

/// The settings file's content.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// Whose keys `values` has.
    pub version: u32,
    /// What is set.
    #[serde(default, deserialize_with = "without_null")]
    pub values: Values,
    /// The inverse steps from `version` down to 1, newest first, for images that do not know this version.
    #[serde(default)]
    pub back: VecDeque<Step>,
    /// What other versions have and this one has not, by version; null: that version had it unset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<u32, Values>,
    /// What happened to the settings that people should know, until somebody changes a setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
}

/// Null is how JSON says "not set".
fn without_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values, D::Error> {
    let mut values = Values::deserialize(deserializer)?;
    values.retain(|_, value| !value.is_null());
    Ok(values)
}

impl Document {
    /// Nothing is set.
    #[must_use]
    pub fn new(steps: &[Step]) -> Self {
        let version = version_of(steps);
        Self { version, values: Values::new(), back: way_back(steps), kept: BTreeMap::new(), notice: None }
    }

    /// Brings it to the version after `steps`: up by these, down by its own way back.
    ///
    /// # Errors
    /// Nothing is changed when it is newer and has no way back.
    pub fn migrate(&mut self, steps: &[Step]) -> Result<(), MigrateError> {
        let wanted = version_of(steps);
        let version = self.version;
        if version == 0 {
            return Err(MigrateError::NoVersion);
        }
        if version > wanted && self.back.len() < (version - wanted) as usize {
            return Err(MigrateError::NoWayBack { version, wanted });
        }
        for step in steps.iter().skip(version as usize - 1) {
            self.take(step, self.version + 1);
        }
        while self.version > wanted
            && let Some(step) = self.back.pop_front()
        {
            self.take(&step, self.version - 1);
        }
        self.back = way_back(steps);
        Ok(())
    }

    fn take(&mut self, step: &Step, to: u32) {
        for operation in step {
            self.perform(operation, to);
        }
        self.version = to;
        self.kept.retain(|_, values| !values.is_empty());
    }

    /// A value that is in the way of an operation belongs to no key of the schema (somebody wrote it by hand); it is
    /// kept as well, so that undoing is exact.
    fn perform(&mut self, operation: &Operation, to: u32) {
        match operation {
            Operation::Add { key, default } => {
                self.keep(key);
                let value = self.fetch(to, key).or_else(|| default.clone());
                self.put(key, value);
            }
            Operation::Remove { key, .. } => {
                if !self.keep(key) {
                    self.kept.entry(self.version).or_default().insert(key.clone(), Value::Null);
                }
                let value = self.fetch(to, key);
                self.put(key, value);
            }
            Operation::Rename { from, to: new } => {
                let value = self.values.remove(from);
                self.keep(new);
                self.put(new, value);
                let value = self.fetch(to, from);
                self.put(from, value);
            }
            Operation::Map { key, pairs } => {
                if let Some(value) = self.values.get_mut(key) {
                    *value = mapped(value, pairs);
                }
            }
        }
    }

    /// Moves a key's value to what is kept for the present version; false where it has none.
    fn keep(&mut self, key: &str) -> bool {
        let value = self.values.remove(key);
        let found = value.is_some();
        if let Some(value) = value {
            self.kept.entry(self.version).or_default().insert(key.to_owned(), value);
        }
        found
    }

    fn fetch(&mut self, version: u32, key: &str) -> Option<Value> {
        self.kept.get_mut(&version)?.remove(key)
    }

    fn put(&mut self, key: &str, value: Option<Value>) {
        if let Some(value) = value.filter(|value| !value.is_null()) {
            self.values.insert(key.to_owned(), value);
        }
    }
}

/// The version after these steps.
#[must_use]
pub fn version_of(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX - 1) + 1
}

/// The pairs as a permutation of all values. A value that is only an "after" would collide with the one that becomes
/// it; it becomes the first of its chain instead (with a → b alone, b becomes a). The inverse pairs undo that exactly.
fn mapped(value: &Value, pairs: &[(Value, Value)]) -> Value {
    if let Some((_, after)) = pairs.iter().find(|(before, _)| before == value) {
        return after.clone();
    }
    let mut first = value;
    // A chain is no longer than the pairs; pairs that break the rule must not loop.
    for _ in pairs {
        match pairs.iter().find(|(_, after)| after == first) {
            Some((before, _)) => first = before,
            None => break,
        }
    }
    first.clone()
}
