//! The made-up hardware of `--simulate`: three modems and a camera.
//!
//! Owns what they are called, what the emulator does to their links, and how
//! their signals wander. Every status that carries them says `simulated`.

use std::time::Duration;

use strata_control::{
    FrameRate, Interface, InterfaceKind, InterfaceState, MediaFormat, MediaInput, MediaInputKind, MediaInputStatus,
};
use strata_netem::protocol::Shape;

/// How long a signal takes from one peak to the next, in seconds.
const SIGNAL_PERIODS_S: [f64; 2] = [47.0, 17.0];

/// A made-up modem and its link.
#[derive(Clone, Copy, Debug)]
pub struct SimulatedModem {
    /// Interface name.
    pub interface: &'static str,
    product: &'static str,
    operator: &'static str,
    technology: &'static str,
    band: &'static str,
    signal_dbm: i16,
    /// What the emulator does to its packets.
    pub shape: Shape,
}

/// Thousands of bits per second, milliseconds, milliseconds, percent.
const fn shape(rate_kbps: u64, delay_ms: f64, jitter_ms: f64, loss_percent: f64) -> Shape {
    Shape { rate_kbps, delay_ms, jitter_ms, loss_percent, ..Shape::CLEAN }
}

/// The three modems. The nearest one loses packets and none carries a stream at its ceiling alone, so that a
/// demo shows what the bond is for.
pub const MODEMS: [SimulatedModem; 3] = [
    SimulatedModem {
        interface: "sim-modem0",
        product: "Simulated LTE modem",
        operator: "Northcell",
        technology: "LTE",
        band: "B20",
        signal_dbm: -88,
        shape: shape(5_000, 35.0, 8.0, 0.0),
    },
    SimulatedModem {
        interface: "sim-modem1",
        product: "Simulated 5G modem",
        operator: "Bluewave",
        technology: "5G NR",
        band: "n78",
        signal_dbm: -79,
        shape: shape(6_000, 25.0, 5.0, 2.0),
    },
    SimulatedModem {
        interface: "sim-modem2",
        product: "Simulated LTE modem",
        operator: "Farreach",
        technology: "LTE",
        band: "B3",
        signal_dbm: -101,
        shape: shape(4_000, 60.0, 12.0, 0.0),
    },
];

/// The camera's name as a source.
pub const CAMERA: &str = "simulated:camera";

/// The modems, `elapsed` after the agent's start.
#[must_use]
pub fn interfaces(elapsed: Duration) -> Vec<Interface> {
    (0u8..).zip(MODEMS).map(|(number, modem)| interface(number, &modem, elapsed)).collect()
}

fn interface(number: u8, modem: &SimulatedModem, elapsed: Duration) -> Interface {
    Interface {
        name: modem.interface.to_owned(),
        kind: InterfaceKind::Modem,
        driver: Some("simulated".to_owned()),
        bus: Some("virtual".to_owned()),
        product: Some(modem.product.to_owned()),
        state: InterfaceState::Connected,
        enabled: true,
        // Addresses for documentation (RFC 5737): nobody has them.
        addresses: vec![format!("198.51.100.{}/30", 4 * number + 2)],
        gateway: Some(format!("198.51.100.{}", 4 * number + 1)),
        default_route: number == 0,
        carrier: true,
        technology: Some(modem.technology.to_owned()),
        band: Some(modem.band.to_owned()),
        network: Some(modem.operator.to_owned()),
        signal_dbm: Some(modem.signal_dbm + wander(number, elapsed)),
    }
}

/// The signal's distance from its mean: at most 5 dB, slow, and each modem's own. The same at the same time.
fn wander(number: u8, elapsed: Duration) -> i16 {
    let phase = f64::from(number) * 2.1;
    let [slow, fast] =
        SIGNAL_PERIODS_S.map(|period| (elapsed.as_secs_f64() / period * std::f64::consts::TAU + phase).sin());
    // At most 3.5 + 1.5.
    (3.5 * slow + 1.5 * fast).round() as i16
}

/// The camera.
#[must_use]
pub fn camera() -> MediaInput {
    let format = |width, height, rates: &[u32]| MediaFormat {
        format: "NV12".to_owned(),
        width,
        height,
        rates: rates.iter().copied().map(FrameRate::per_second).collect(),
    };
    MediaInput {
        id: CAMERA.to_owned(),
        label: "Simulated camera".to_owned(),
        kind: MediaInputKind::Camera,
        formats: vec![format(1920, 1080, &[25, 30]), format(1280, 720, &[25, 30, 50, 60])],
        status: MediaInputStatus::Ready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_wander_slowly_within_bounds() {
        for second in 0..600 {
            let at = |second| interfaces(Duration::from_secs(second));
            for (now, next) in at(second).iter().zip(at(second + 1)) {
                let (now, next) = (now.signal_dbm.unwrap(), next.signal_dbm.unwrap());
                assert!((now - next).abs() <= 2 && (-110..=-70).contains(&now));
            }
        }
        assert_eq!(interfaces(Duration::from_secs(5)), interfaces(Duration::from_secs(5)));
    }
}
