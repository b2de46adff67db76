//! The link emulator's configuration, commands and replies.

use serde::Serialize;
use serde::de::DeserializeOwned;
use strata_netem::protocol::{Command, Config, Ready, Reply};

/// Any bytes as each kind of line.
///
/// # Panics
/// When a line that was read does not read back.
pub fn run(data: &[u8]) {
    check::<Config>(data);
    check::<Command>(data);
    check::<Reply>(data);
    check::<Ready>(data);
}

fn check<T: DeserializeOwned + Serialize>(line: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(line) else { return };
    let written = serde_json::to_vec(&read).expect("it has a JSON form");
    // Not compared: numbers with a fraction may differ in their last digit.
    assert!(serde_json::from_slice::<T>(&written).is_ok(), "what was read and written again is not read");
}
