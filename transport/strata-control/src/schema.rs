//! The JSON Schema (draft 2020-12) of both directions, as committed under `docs/protocol/`.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{DeviceMessage, MAX_FRAME_BYTES, Message, PROTOCOL_VERSION, RelayMessage};

/// One schema for every frame of either direction.
#[must_use]
pub fn json_schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let device = direction::<DeviceMessage>(&mut generator, "What a device says to its relay.");
    let relay = direction::<RelayMessage>(&mut generator, "What a relay says to a device.");
    let mut definitions = generator.take_definitions(true);
    definitions.insert("DeviceFrame".to_owned(), device);
    definitions.insert("RelayFrame".to_owned(), relay);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Strata control protocol",
        "description": format!("Version {PROTOCOL_VERSION}. JSON text frames of at most {MAX_FRAME_BYTES} bytes over a WebSocket that the device opens."),
        "oneOf": [{ "$ref": "#/$defs/DeviceFrame" }, { "$ref": "#/$defs/RelayFrame" }],
        "$defs": definitions,
    })
}

fn direction<M: Message>(generator: &mut SchemaGenerator, description: &str) -> Value {
    let frames: Vec<Value> = M::schemas(generator)
        .into_iter()
        .map(|(type_name, payload)| {
            json!({
                "type": "object",
                "required": ["id", "type", "ts", "version", "payload"],
                "properties": {
                    "id": { "type": "string", "format": "uuid" },
                    "type": { "const": type_name },
                    "ts": { "type": "string", "format": "date-time" },
                    "version": { "type": "integer", "minimum": 0, "maximum": 65535 },
                    "payload": payload,
                },
            })
        })
        .collect();
    json!({ "description": description, "oneOf": frames })
}
