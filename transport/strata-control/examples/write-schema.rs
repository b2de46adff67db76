//! Writes the JSON Schema of the control protocol to standard output:
//! `cargo run -p strata-control --example write-schema > docs/protocol/control.schema.json`

use std::io::Write;

fn main() -> std::io::Result<()> {
    let mut text = serde_json::to_string_pretty(&strata_control::json_schema())?;
    text.push('\n');
    std::io::stdout().write_all(text.as_bytes())
}
