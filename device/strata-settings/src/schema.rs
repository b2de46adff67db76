//! What an image knows about settings: its keys, and the steps between versions. Shipped as `settings.toml`.
//!
//! A schema is checked as a whole when it is read: walking its steps backwards from its keys must be possible, so a
//! step that does not fit fails in the image's build, not on a device.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use thiserror::Error;

use crate::document::{Operation, Step, version_of};
use crate::kind::Kind;

/// A schema that cannot be used: the image is broken.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// The file is not there.
    #[error("cannot read the schema {path}: {source}; it is a part of the image")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or has other fields.
    #[error("the schema is not valid: {0}")]
    Parse(#[from] toml::de::Error),
    /// A key is wrong.
    #[error("the schema's key {key}: {what}")]
    Key {
        /// Which.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// A step does not fit the keys, or cannot be undone.
    #[error("the schema's step from version {from}, key {key}: {what}")]
    Step {
        /// The version that it starts from.
        from: usize,
        /// Which.
        key: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// Keys and steps.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schema {
    /// The keys of the newest version.
    pub keys: Vec<Key>,
    /// Step N (from 1) leads from version N to N + 1.
    #[serde(default, deserialize_with = "operations_of_each")]
    pub steps: Vec<Step>,
}

/// In the file, a step is a table of its own, so that a new one is written below the others.
fn operations_of_each<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Step>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct StepTable {
        operations: Step,
    }
    Ok(Vec::<StepTable>::deserialize(deserializer)?.into_iter().map(|step| step.operations).collect())
}

/// One setting.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Words with dots between them.
    pub name: String,
    /// What it may be.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is when nobody set it.
    pub default: Value,
    /// What it does, for people.
    pub meaning: String,
}

impl Schema {
    /// Reads and checks a schema file.
    ///
    /// # Errors
    /// The file, or what is wrong in it.
    pub fn read(path: &Path) -> Result<Self, SchemaError> {
        let text = fs::read_to_string(path).map_err(|source| SchemaError::Read { path: path.into(), source })?;
        Self::parse(&text)
    }

    /// Checks a schema.
    ///
    /// # Errors
    /// What is wrong in it.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let schema: Self = toml::from_str(text)?;
        let mut names = BTreeSet::new();
        for Key { name, kind, default, .. } in &schema.keys {
            let wrong = |what| Err(SchemaError::Key { key: name.clone(), what });
            if !names.insert(name.as_str()) {
                return wrong("is there twice".into());
            }
            if !kind.allows(default) {
                return wrong(format!("its default {default} is not {kind}"));
            }
        }
        for (index, step) in schema.steps.iter().enumerate().rev() {
            check_step(step, &mut names).map_err(|(key, what)| SchemaError::Step {
                from: index + 1,
                key: key.to_owned(),
                what,
            })?;
        }
        Ok(schema)
    }

    /// The version of its keys.
    #[must_use]
    pub fn version(&self) -> u32 {
        version_of(&self.steps)
    }

    /// The key of that name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The name that is most like `name`; empty without any key.
    #[must_use]
    pub fn closest(&self, name: &str) -> &str {
        self.keys.iter().map(|key| key.name.as_str()).min_by_key(|known| distance(known, name)).unwrap_or_default()
    }
}

/// Takes the names after a step back to those before it.
fn check_step<'a>(step: &'a Step, names: &mut BTreeSet<&'a str>) -> Result<(), (&'a str, &'static str)> {
    let mut touched = BTreeSet::new();
    for key in step.iter().flat_map(Operation::keys) {
        if !touched.insert(key) {
            return Err((key, "is touched twice in one step: make it two steps"));
        }
    }
    for operation in step {
        match operation {
            Operation::Add { key, .. } if !names.remove(key.as_str()) => {
                return Err((key, "is added, but not there afterwards"));
            }
            Operation::Remove { key, .. } if !names.insert(key) => return Err((key, "is removed, but still there")),
            Operation::Rename { to, .. } if !names.remove(to.as_str()) => {
                return Err((to, "is a new name, but not there afterwards"));
            }
            Operation::Rename { from, .. } if !names.insert(from) => {
                return Err((from, "is an old name, but still there"));
            }
            Operation::Map { key, .. } if !names.contains(key.as_str()) => {
                return Err((key, "is mapped, but not there"));
            }
            Operation::Map { key, pairs } => {
                let twice = |side: fn(&(Value, Value)) -> &Value| {
                    pairs.iter().enumerate().any(|(at, pair)| pairs[..at].iter().any(|other| side(other) == side(pair)))
                };
                if twice(|pair| &pair.0) || twice(|pair| &pair.1) {
                    return Err((key, "two pairs have the same value on one side: that cannot be undone"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Levenshtein distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
