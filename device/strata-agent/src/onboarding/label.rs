//! The label on the device: what a person needs to join its own network, to be read by eye and by a phone.
//!
//! An SVG of 62 × 29 mm, the size of common label printers' rolls; black on white, no fonts of its own.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use qrcode::{Color, EcLevel, QrCode};

use super::own_network;
use crate::config::Config;

/// Where a board keeps its serial number (Devicetree Specification 0.4, root node).
const SERIAL: &str = "/sys/firmware/devicetree/base/serial-number";
/// Light modules around a code that readers need (ISO/IEC 18004).
const QUIET: usize = 4;

/// The label of this device.
///
/// # Errors
/// When the device has no network of its own yet.
pub fn label(config: &Config) -> anyhow::Result<String> {
    let own = own_network::kept(&config.state_dir)?
        .context("this device has no network of its own yet: it is made when the agent first meets a Wi-Fi radio")?;
    let code = QrCode::with_error_correction_level(own.qr_text(), EcLevel::M).context("the QR code")?;
    Ok(draw(&code, &own.ssid, own.passphrase.reveal(), serial(Path::new(SERIAL)).as_deref()))
}

fn serial(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_end_matches('\0').trim().to_owned()).filter(|serial| !serial.is_empty())
}

fn draw(code: &QrCode, ssid: &str, passphrase: &str, serial: Option<&str>) -> String {
    let width = code.width();
    let mut path = String::new();
    for (at, _) in code.to_colors().iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        write!(path, "M{} {}h1v1h-1z", at % width + QUIET, at / width + QUIET).expect("a string takes text");
    }
    let modules = width + 2 * QUIET;
    let mut lines = vec![("Wi-Fi", escaped(ssid)), ("Passphrase", escaped(passphrase))];
    lines.extend(serial.map(|serial| ("Serial", escaped(serial))));
    let mut text = String::new();
    for (line, (what, value)) in lines.iter().enumerate() {
        let y = 6.5 + 8.0 * f64::from(u8::try_from(line).unwrap_or_default());
        write!(
            text,
            "<text x=\"29\" y=\"{y}\" font-size=\"2.4\" fill=\"#444\">{what}</text>\
             <text x=\"29\" y=\"{}\" font-family=\"monospace\" font-size=\"3.4\">{value}</text>",
            y + 3.6
        )
        .expect("a string takes text");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"62mm\" height=\"29mm\" viewBox=\"0 0 62 29\" \
         font-family=\"sans-serif\"><title>Strata: {}</title><rect width=\"62\" height=\"29\" fill=\"#fff\"/>\
         <svg x=\"0.5\" y=\"0.5\" width=\"28\" height=\"28\" viewBox=\"0 0 {modules} {modules}\" \
         shape-rendering=\"crispEdges\"><path d=\"{path}\"/></svg>{text}</svg>\n",
        escaped(ssid)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_what_is_typed_and_what_is_scanned() {
        let folder = tempfile::tempdir().unwrap();
        let config: Config = toml::from_str(&format!("state_dir = {:?}", folder.path())).unwrap();
        let error = label(&config).unwrap_err().to_string();
        assert!(error.contains("no network of its own yet"), "{error}");
        let own = own_network::own_network(folder.path(), [2, 0, 0, 0, 0xa1, 0x0f]).unwrap();
        let drawn = label(&config).unwrap();
        for part in ["Strata-A10F", own.passphrase.reveal(), "<path d=\"M"] {
            assert!(drawn.contains(part), "{part}: {drawn}");
        }
        let code = QrCode::with_error_correction_level(own.qr_text(), EcLevel::M).unwrap();
        let dark = code.to_colors().iter().filter(|color| **color == Color::Dark).count();
        assert_eq!(drawn.matches("h1v1h-1z").count(), dark);
    }

    #[test]
    fn a_serial_is_the_boards_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial-number");
        assert_eq!(serial(&path), None);
        for (text, told) in [("b8f1a2\0", Some("b8f1a2")), ("\0", None), ("", None)] {
            fs::write(&path, text).unwrap();
            assert_eq!(serial(&path).as_deref(), told);
        }
    }

    #[test]
    fn nothing_in_a_label_is_markup() {
        let drawn = draw(&QrCode::new("x").unwrap(), "<b>&", "p", None);
        assert!(drawn.contains("&lt;b&gt;&amp;") && !drawn.contains("<b>"));
    }
}
