//! The pages: what a template is given, and nothing of where it comes from.
//!
//! Each is one file of HTML with its style inside: mini-browsers of phones load
//! nothing else. None needs JavaScript.

use askama::Template;

use crate::device::{Failure, Heard, Modem, Progress, Snapshot};
use crate::language::Language;
use crate::texts::Texts;
use strata_network::wifi::{Security, Ssid};

/// Seconds after which a page that waits for something loads again.
const WAITING_S: u32 = 3;

/// What each page has.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) language: Language,
    pub(crate) snapshot: Snapshot,
    /// For the forms of this client.
    pub(crate) form_token: String,
    /// What went wrong, above everything else.
    pub(crate) trouble: Option<String>,
    refresh_s: u32,
    style: &'static str,
}

impl View {
    pub(crate) fn new(language: Language, snapshot: Snapshot, form_token: String) -> Self {
        let style = include_str!("../templates/style.css");
        Self { language, snapshot, form_token, trouble: None, refresh_s: 0, style }
    }

    pub(crate) fn texts(&self) -> &'static Texts {
        Texts::of(self.language)
    }
}

fn failed(progress: Progress) -> Option<Failure> {
    match progress {
        Progress::Failed(failure) => Some(failure),
        Progress::Nothing | Progress::Going | Progress::Done => None,
    }
}

#[derive(Template)]
#[template(path = "start.html")]
struct Start<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    s: &'a Snapshot,
    joining: bool,
    enrolling: bool,
    /// The network that is known to work, while the radio is the access point.
    works: Option<String>,
    /// Whether there is a way out, now or as soon as the radio is free: what is left is the relay.
    way_out: bool,
}

/// Where one begins, and sees how far one got.
pub(crate) fn start(mut view: View) -> askama::Result<String> {
    let t = view.texts();
    let s = &view.snapshot;
    let (joining, enrolling) = (s.joining.1 == Progress::Going, s.enrolment == Progress::Going);
    let network = s.joining.0.as_ref().filter(|_| !s.internet);
    let not_joined = failed(s.joining.1).zip(network).map(|(failure, ssid)| format!("{ssid}: {}", failure.text(t)));
    let not_enrolled = failed(s.enrolment).filter(|_| !s.at_relay).map(|failure| failure.text(t).to_owned());
    view.trouble = view.trouble.or(not_joined).or(not_enrolled);
    let works = network.filter(|_| s.joining.1 == Progress::Done).map(Ssid::to_string);
    view.refresh_s = if joining || enrolling { WAITING_S } else { 0 };
    let (view, s) = (&view, &view.snapshot);
    let way_out = s.internet || works.is_some();
    Start { view, title: t.welcome, t, s, joining, enrolling, works, way_out }.render()
}

/// A network as the pages show it.
#[derive(Debug)]
struct Shown {
    hex: String,
    name: String,
    security: &'static str,
    strength: u8,
    known: bool,
}

impl Shown {
    fn of(network: &Heard, t: &Texts) -> Self {
        Self {
            hex: to_hex(&network.ssid),
            name: network.ssid.to_string(),
            security: security_word(network.security, t),
            strength: network.strength.min(100),
            known: network.known,
        }
    }
}

fn security_word(security: Security, t: &Texts) -> &'static str {
    match security {
        Security::Open | Security::EnhancedOpen => t.open,
        Security::Personal => "WPA2",
        Security::Wpa3Personal => "WPA3",
        Security::Enterprise => "WPA2 Enterprise",
        Security::Wep | Security::Unsupported => t.unsupported,
    }
}

fn to_hex(ssid: &Ssid) -> String {
    ssid.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name as the pages write it into addresses and forms.
pub(crate) fn from_hex(hex: &str) -> Option<Ssid> {
    if !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect();
    Ssid::new(&bytes?)
}

#[derive(Template)]
#[template(path = "wifi.html")]
struct Wifi<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    s: &'a Snapshot,
    networks: Vec<Shown>,
    heard_ago: Option<String>,
}

/// The networks.
pub(crate) fn wifi(view: &View) -> askama::Result<String> {
    let (t, s) = (view.texts(), &view.snapshot);
    let networks = s.networks.iter().map(|network| Shown::of(network, t)).collect();
    let heard_ago = s.heard_ago.map(|ago| match ago.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    });
    Wifi { view, title: t.networks, t, s, networks, heard_ago }.render()
}

#[derive(Template)]
#[template(path = "join.html")]
struct Join<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    s: &'a Snapshot,
    network: Option<Shown>,
    wants_login: bool,
    wants_passphrase: bool,
}

/// What a network asks for; of none: its name, too.
pub(crate) fn join(view: &View, ssid: Option<&Ssid>) -> askama::Result<String> {
    let (t, s) = (view.texts(), &view.snapshot);
    let heard = ssid.and_then(|ssid| s.networks.iter().find(|network| network.ssid == *ssid));
    let security = heard.map_or(Security::Personal, |network| network.security);
    let wants_login = security == Security::Enterprise;
    Join {
        view,
        title: t.join,
        t,
        s,
        network: heard.map(|network| Shown::of(network, t)),
        wants_login,
        wants_passphrase: wants_login || security.wants_passphrase(),
    }
    .render()
}

#[derive(Template)]
#[template(path = "relay.html")]
struct Relay<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    relay: &'a str,
    enrolment: &'a str,
}

/// Where the token is typed, or stands already when it came by a link.
pub(crate) fn relay(view: &View, relay: Option<&str>, enrolment: &str) -> askama::Result<String> {
    let t = view.texts();
    let relay = relay.or(view.snapshot.relay.as_deref()).unwrap_or_default();
    Relay { view, title: t.enrol, t, relay, enrolment }.render()
}

#[derive(Debug)]
struct ShownModem<'a> {
    id: u32,
    name: &'a str,
    line: String,
    online: bool,
    trouble: Option<&'static str>,
    wants_pin: bool,
    pin_tries: Option<u32>,
    apn: &'a str,
    busy: bool,
}

#[derive(Template)]
#[template(path = "modems.html")]
struct Modems<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    modems: Vec<ShownModem<'a>>,
}

/// The modems, with what they need.
pub(crate) fn modems(mut view: View) -> askama::Result<String> {
    let t = view.texts();
    view.refresh_s = if view.snapshot.modems.iter().any(|modem| modem.busy) { WAITING_S } else { 0 };
    let view = &view;
    let shown = |modem: &'_ Modem| {
        let signal = modem.signal.map(|signal| format!("{} {signal} %", t.signal));
        let parts = [modem.operator.clone(), modem.technology.clone(), signal];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    };
    let modems = view.snapshot.modems.iter().map(|modem| ShownModem {
        id: modem.id,
        name: &modem.name,
        line: shown(modem),
        online: modem.online,
        trouble: modem.failure.map(|failure| failure.text(t)),
        wants_pin: modem.wants_pin,
        pin_tries: modem.pin_tries,
        apn: modem.apn.as_deref().unwrap_or_default(),
        busy: modem.busy,
    });
    Modems { view, title: t.modems, t, modems: modems.collect() }.render()
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
}

/// Before a device that belongs to somebody shows more.
pub(crate) fn login(view: &View) -> askama::Result<String> {
    let t = view.texts();
    Login { view, title: t.log_in, t }.render()
}

#[derive(Template)]
#[template(path = "online.html")]
struct Online<'a> {
    view: &'a View,
    title: &'a str,
    t: &'a Texts,
    s: &'a Snapshot,
}

/// All is well.
pub(crate) fn online(view: &View) -> askama::Result<String> {
    let t = view.texts();
    Online { view, title: t.online, t, s: &view.snapshot }.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_network::reason::Reason;

    fn snapshot() -> Snapshot {
        let names: [&[u8]; 5] =
            [b"<img src=x onerror=alert(1)>", "Café ☕".as_bytes(), &[0xff; 32], b"\"><script>", b"Hotel"];
        let networks = names.iter().map(|name| Heard {
            ssid: Ssid::new(name).unwrap(),
            security: Security::Personal,
            strength: 70,
            known: false,
        });
        Snapshot { name: "Strata-A10F".into(), networks: networks.collect(), one_radio: true, ..Snapshot::default() }
    }

    fn view(snapshot: Snapshot) -> View {
        View::new(Language::German, snapshot, "token".into())
    }

    fn all() -> Vec<(&'static str, String)> {
        let mut busy = snapshot();
        busy.joining = (None, Progress::Failed(Failure::Network(Reason::WrongKey)));
        busy.modems = vec![Modem {
            id: 3,
            name: "<b>Quectel</b>".into(),
            operator: Some("Op & Co".into()),
            signal: Some(55),
            technology: Some("5G".into()),
            wants_pin: true,
            pin_tries: Some(2),
            apn: Some("\"><script>".into()),
            busy: false,
            failure: Some(Failure::Network(Reason::SimPin)),
            online: false,
        }];
        vec![
            ("start", start(view(busy.clone())).unwrap()),
            ("wifi", wifi(&view(busy.clone())).unwrap()),
            ("join", join(&view(busy.clone()), Ssid::new(b"Hotel").as_ref()).unwrap()),
            ("other", join(&view(busy.clone()), None).unwrap()),
            ("relay", relay(&view(busy.clone()), Some("wss://\"><script>"), "t\"><script>").unwrap()),
            ("modems", modems(view(busy.clone())).unwrap()),
            ("online", online(&view(busy)).unwrap()),
        ]
    }

    #[test]
    fn whatever_a_network_is_called_no_page_does_what_it_says() {
        for (name, page) in all() {
            for bad in ["<img", "<script", "<b>Quectel"] {
                assert!(!page.contains(bad), "{name}: {bad}\n{page}");
            }
        }
    }

    #[test]
    fn every_page_is_one_small_file() {
        for (name, page) in all() {
            assert!(page.len() < 50_000, "{name}: {} bytes", page.len());
            for outside in ["src=\"", "<link", "http://", "https://", "@import", "url("] {
                assert!(!page.contains(outside), "{name}: {outside}");
            }
            assert!(page.contains("<html lang=\"de\">") && page.contains("<h1>"), "{name}");
        }
    }

    #[test]
    fn every_form_has_its_token_and_every_field_its_label() {
        for (name, page) in all() {
            let forms = page.matches("<form method=\"post\"").count();
            assert_eq!(page.matches("name=\"token\" value=\"token\"").count(), forms, "{name}");
            let fields = page.matches("<input").count() - page.matches("type=\"hidden\"").count();
            assert_eq!(page.matches("<label>").count(), fields, "{name}");
        }
    }

    #[test]
    fn what_failed_is_told_first_and_a_page_that_waits_loads_again() {
        let mut failing = snapshot();
        failing.joining = (Ssid::new(b"Hotel"), Progress::Failed(Failure::Network(Reason::WrongKey)));
        let page = start(view(failing.clone())).unwrap();
        assert!(page.contains("role=\"alert\" dir=\"auto\">Hotel: Das Passwort wurde nicht angenommen."), "{page}");
        assert!(!page.contains("http-equiv"));
        failing.internet = true;
        assert!(!start(view(failing.clone())).unwrap().contains("alert"), "old news");
        failing.joining.1 = Progress::Going;
        assert!(start(view(failing)).unwrap().contains("http-equiv=\"refresh\" content=\"3\""));
    }

    #[test]
    fn a_modem_that_is_busy_is_asked_for_nothing_else_and_one_without_known_tries_shows_none() {
        let modem = |busy, pin_tries| Modem {
            id: 3,
            name: "Quectel".into(),
            operator: None,
            signal: None,
            technology: None,
            wants_pin: true,
            pin_tries,
            apn: None,
            failure: Some(Failure::WrongPin),
            busy,
            online: false,
        };
        let page = |modem| modems(view(Snapshot { modems: vec![modem], ..snapshot() })).unwrap();
        let busy = page(modem(true, Some(2)));
        assert!(busy.contains("role=\"status\"") && busy.contains("http-equiv=\"refresh\""), "{busy}");
        assert!(!busy.contains("<form") && !busy.contains("Diese PIN war falsch"), "{busy}");
        let wrong = page(modem(false, Some(2)));
        assert!(wrong.contains("Diese PIN war falsch") && wrong.contains("verbleibende Versuche: 2"), "{wrong}");
        assert!(!wrong.contains("http-equiv"), "{wrong}");
        let unknown = page(modem(false, None));
        assert!(unknown.contains("/modems/3/pin") && !unknown.contains("verbleibende"), "{unknown}");
    }

    #[test]
    fn a_name_comes_back_from_its_address() {
        for network in snapshot().networks {
            assert_eq!(from_hex(&to_hex(&network.ssid)), Some(network.ssid));
        }
        for wrong in ["", "4", "4g", "é", "00", &"61".repeat(33)] {
            assert_eq!(from_hex(wrong), None, "{wrong}");
        }
    }
}
