//! The wire format, byte for byte: a change here is a change of the protocol.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use strata_control::{DeviceMessage, Envelope, Message, RelayMessage, json_schema};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn golden_files(direction: &str) -> Vec<PathBuf> {
    let folder = here().join("tests/golden").join(direction);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Each golden file is read, written again without a change, and fits the schema; each type has one.
fn check<M: Message>(direction: &str, definition: &str) {
    let mut schema = json_schema();
    schema["oneOf"] = serde_json::json!([{ "$ref": format!("#/$defs/{definition}") }]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut seen = BTreeSet::new();
    for path in golden_files(direction) {
        let text = fs::read_to_string(&path).unwrap();
        let envelope = Envelope::<M>::decode(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let golden: Value = serde_json::from_str(&text).unwrap();
        let written: Value = serde_json::from_str(&envelope.encode().unwrap()).unwrap();
        assert_eq!(written, golden, "{}", path.display());
        if let Err(error) = validator.validate(&golden) {
            panic!("{} does not fit the schema: {error}", path.display());
        }
        seen.insert(envelope.message.type_name());
    }
    let types: BTreeSet<_> =
        M::schemas(&mut schemars::SchemaGenerator::default()).into_iter().map(|(type_name, _)| type_name).collect();
    assert_eq!(seen, types, "one golden file for each type");
}

#[test]
fn every_device_message_has_its_golden_form() {
    check::<DeviceMessage>("device", "DeviceFrame");
}

#[test]
fn every_relay_message_has_its_golden_form() {
    check::<RelayMessage>("relay", "RelayFrame");
}

#[test]
fn the_committed_schema_is_the_one_of_the_types() {
    let path = here().join("../../docs/protocol/control.schema.json");
    let committed: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        committed,
        json_schema(),
        "run: cargo run -p strata-control --example write-schema > docs/protocol/control.schema.json"
    );
}

#[test]
fn unknown_fields_are_ignored_and_unknown_values_read_as_other() {
    let text = fs::read_to_string(here().join("tests/golden/device/stream.ended.json")).unwrap();
    let mut frame: Value = serde_json::from_str(&text).unwrap();
    frame["payload"]["reason"] = "abducted".into();
    frame["payload"]["colour"] = "blue".into();
    let envelope = Envelope::<DeviceMessage>::decode(&frame.to_string()).unwrap();
    let DeviceMessage::StreamEnded(ended) = envelope.message else { panic!("another type") };
    assert_eq!(ended.reason, strata_control::EndReason::Other);
}

#[test]
fn an_unknown_type_is_told_apart_from_a_bad_payload_and_a_far_version() {
    let text = fs::read_to_string(here().join("tests/golden/device/device.status.json")).unwrap();
    let error = |change: fn(&mut Value)| {
        let mut frame: Value = serde_json::from_str(&text).unwrap();
        change(&mut frame);
        Envelope::<DeviceMessage>::decode(&frame.to_string()).unwrap_err().to_string()
    };
    assert_eq!(error(|frame| frame["type"] = "stream.dance".into()), "unknown message type “stream.dance”");
    assert!(error(|frame| frame["payload"]["uptime_s"] = "long".into()).contains("payload of device.status"));
    assert!(error(|frame| frame["version"] = 7.into()).contains("version 7"));
    assert!(error(|frame| frame["id"] = "x".into()).contains("not a message of this protocol"));
}
