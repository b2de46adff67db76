//! Which values are in force, and changing one.
//!
//! A value that the schema does not allow (written by hand, or by a step that was wrong) is not followed: the default
//! is in force and a sentence says so. It stays in the file, for the version that may allow it.

use serde_json::Value;
use thiserror::Error;

use crate::document::Values;
use crate::schema::Schema;

/// Whether one can log in over SSH.
pub const SSH_ENABLED: &str = "ssh.enabled";
/// By which keys.
pub const SSH_KEYS: &str = "ssh.authorized_keys";
/// The device's name in its networks.
pub const HOST_NAME: &str = "hostname";
/// Whether updates may cost money.
pub const OVER_METERED: &str = "update.over_metered";

/// Whose rules the radios follow.
pub const COUNTRY: &str = "wifi.country";

/// Why SSH without keys is refused.
pub const NO_WAY_IN: &str = "ssh.enabled is true, but ssh.authorized_keys is empty: nobody could log in, so SSH stays off; set a key first, or set ssh.enabled to false";

/// A change that is refused. Nothing is changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SettingError {
    /// There is no such key.
    #[error("there is no setting {key:?}; the closest is {closest:?}, `strata-settings list` shows all")]
    Unknown {
        /// What was asked for.
        key: String,
        /// What may have been meant.
        closest: String,
    },
    /// The schema does not allow the value.
    #[error("{key} cannot be {value}; it can be {allowed}")]
    NotAllowed {
        /// The setting.
        key: String,
        /// What was asked for.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// It does not fit another setting.
    #[error("{NO_WAY_IN}")]
    NoWayIn,
}

/// The values in force, every key of the schema among them, and a sentence for each that is not followed.
#[must_use]
pub fn in_force(schema: &Schema, values: &Values) -> (Values, Vec<String>) {
    let mut problems = Vec::new();
    for (name, value) in values {
        match schema.key(name) {
            None => problems.push(format!(
                "The settings file sets {name}, which is no setting of this version (the closest is {}); it is not followed",
                schema.closest(name)
            )),
            Some(key) if !key.kind.allows(value) => problems.push(format!(
                "The setting {name} cannot be {}; it can be {}. {} is in force until it is set anew",
                short(value),
                key.kind,
                key.default
            )),
            Some(_) => {}
        }
    }
    let value_of = |key: &crate::schema::Key| {
        let set = values.get(&key.name).filter(|value| key.kind.allows(value));
        (key.name.clone(), set.unwrap_or(&key.default).clone())
    };
    (schema.keys.iter().map(value_of).collect(), problems)
}

/// Sets a key to what a person wrote; without a text, back to its default.
///
/// # Errors
/// Key, value and what is allowed.
pub fn set(schema: &Schema, values: &mut Values, name: &str, text: Option<&str>) -> Result<(), SettingError> {
    let key = schema.key(name).ok_or_else(|| unknown(schema, name))?;
    let mut changed = values.clone();
    match text.map(|text| key.kind.parse(text)) {
        Some(value) if !key.kind.allows(&value) => {
            return Err(SettingError::NotAllowed {
                key: name.into(),
                value: short(&value),
                allowed: key.kind.to_string(),
            });
        }
        Some(value) => changed.insert(name.into(), value),
        None => changed.remove(name),
    };
    // A file that breaks the rule already must not keep people from changing something else.
    if matches!(name, SSH_ENABLED | SSH_KEYS) && no_way_in(&in_force(schema, &changed).0) {
        return Err(SettingError::NoWayIn);
    }
    *values = changed;
    Ok(())
}

/// The error for a name that no key has.
#[must_use]
pub fn unknown(schema: &Schema, name: &str) -> SettingError {
    SettingError::Unknown { key: name.into(), closest: schema.closest(name).into() }
}

/// Whether SSH is on and nobody could log in.
#[must_use]
pub fn no_way_in(in_force: &Values) -> bool {
    in_force.get(SSH_ENABLED) == Some(&Value::Bool(true))
        && in_force.get(SSH_KEYS).and_then(Value::as_array).is_none_or(Vec::is_empty)
}

/// A value for a sentence.
fn short(value: &Value) -> String {
    const LIMIT: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
