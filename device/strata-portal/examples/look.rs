//! The portal of a device that is made up, to look at: `cargo run -p strata-portal --example look`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_network::reason::Reason;
use strata_network::wifi::{Secret, Security, Ssid, Wish};
use strata_portal::device::{Answer, Device, Failure, Heard, Modem, Progress, Snapshot};
use strata_portal::server::Portal;

#[derive(Debug)]
struct MadeUp(Mutex<Snapshot>);

impl MadeUp {
    fn change(&self, change: impl FnOnce(&mut Snapshot)) -> Answer<'_, ()> {
        if let Ok(mut snapshot) = self.0.lock() {
            change(&mut snapshot);
        }
        Box::pin(async {})
    }
}

impl Device for MadeUp {
    fn passphrase(&self) -> Secret {
        Secret::new("abcd-efgh-jkmn".into())
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        let snapshot = self.0.lock().map(|snapshot| snapshot.clone()).unwrap_or_default();
        Box::pin(async { snapshot })
    }

    fn scan(&self) -> Answer<'_, ()> {
        self.change(|snapshot| snapshot.heard_ago = Some(Duration::ZERO))
    }

    /// The passphrase that works is "correct horse".
    fn join(&self, wish: Wish) -> Answer<'_, ()> {
        let right = format!("{:?}", wish.profile()).contains("correct horse");
        self.change(|snapshot| {
            snapshot.internet = right;
            let progress = if right { Progress::Done } else { Progress::Failed(Failure::Network(Reason::WrongKey)) };
            snapshot.joining = (Some(wish.ssid), progress);
        })
    }

    fn enrol(&self, _token: String, relay: Option<String>) -> Answer<'_, Result<(), Failure>> {
        drop(self.change(|snapshot| {
            snapshot.relay = relay;
            snapshot.at_relay = snapshot.internet;
            snapshot.enrolment = if snapshot.internet { Progress::Done } else { Progress::Failed(Failure::Relay) };
        }));
        Box::pin(async { Ok(()) })
    }

    fn enter_pin(&self, _modem: u32, _pin: String) -> Answer<'_, ()> {
        self.change(|snapshot| {
            for modem in &mut snapshot.modems {
                modem.pin_tries = modem.pin_tries.and_then(|tries| tries.checked_sub(1));
                modem.wants_pin = modem.pin_tries.is_some_and(|tries| tries > 1);
                modem.failure = Some(if modem.wants_pin { Failure::WrongPin } else { Failure::LastPinTry });
            }
        })
    }

    fn set_apn(&self, _modem: u32, apn: String) -> Answer<'_, ()> {
        self.change(|snapshot| snapshot.modems.iter_mut().for_each(|modem| modem.apn = Some(apn.clone())))
    }
}

fn made_up() -> Snapshot {
    let network =
        |name: &[u8], security, strength, known| Ssid::new(name).map(|ssid| Heard { ssid, security, strength, known });
    let networks = [
        network("Café Zürich ☕".as_bytes(), Security::Personal, 82, false),
        network(b"Fairground-Staff", Security::Wpa3Personal, 64, true),
        network(b"<img src=x onerror=alert(1)>", Security::Open, 51, false),
        network(b"Campus", Security::Enterprise, 40, false),
        network(&[0xf0; 32], Security::Wep, 12, false),
    ];
    let modem = Modem {
        id: 1,
        name: "Quectel RM520N-GL".into(),
        operator: Some("Example Mobile".into()),
        signal: Some(57),
        technology: Some("5G".into()),
        wants_pin: true,
        pin_tries: Some(3),
        apn: None,
        busy: false,
        failure: Some(Failure::Network(Reason::SimPin)),
        online: false,
    };
    Snapshot {
        name: "Strata-A10F".into(),
        one_radio: true,
        networks: networks.into_iter().flatten().collect(),
        heard_ago: Some(Duration::from_secs(42)),
        modems: vec![modem],
        inputs: vec!["Cam Link 4K (/dev/video0)".into()],
        ..Snapshot::default()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let own = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let listener = tokio::net::TcpListener::bind((own, 80)).await?;
    eprintln!("http://{own}/");
    Arc::new(Portal::new(Arc::new(MadeUp(Mutex::new(made_up()))), own, [0; 32])).serve(listener).await;
    Ok(())
}
