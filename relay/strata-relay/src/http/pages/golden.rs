//! The pages as they are sent, for a few states, held in golden files. `cargo insta review` shows what a change does.

use askama::Template;
use strata_fleet::{DeviceUpdateView, DeviceView, Role, StreamState, StreamView};
use strata_web::Page;

use super::device::DevicePage;
use super::fleet::FleetPage;
use super::go_live::GoLivePage;
use super::maintenance::Forms;
use super::stream::{StreamPage, StreamsPage};
use super::{Section, frame};
use crate::http::caller::{Caller, Proof};
use crate::http::fields::Fields;
use crate::http::view::device::{Device, FleetList, inputs};
use crate::http::view::go_live::{GoLiveForm, read, sources};
use crate::http::view::samples;
use crate::http::view::stream::{Given, Player, Stream, StreamRow};
use crate::http::view::system::UpdateRow;

fn page(section: Section, title: &str) -> Page {
    let caller = Caller { actor: samples::actor(), proof: Proof::Cookie("session".into()) };
    Page {
        csrf: "CSRF".into(),
        now_ms: samples::now().as_millisecond(),
        topics: "topic:ID".into(),
        ..frame(&caller, section, title)
    }
}

/// Without the assets' hashes, which change with every change of the style sheet.
fn steady(html: &str) -> String {
    let mut parts = html.split("?v=");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()));
    }
    text
}

fn stream_page(stream: &StreamView) -> String {
    let device = samples::device();
    let events = samples::events();
    let given =
        Given { stream, events: &events, inputs: inputs(&device), simulated: device.simulated, now: samples::now() };
    let html = StreamPage {
        page: page(Section::Streams, "Stream"),
        stream: Stream::new(&given),
        player: Player::of(stream),
        sources: sources(device.status.as_ref(), ""),
        csrf: "CSRF".into(),
        may_operate: true,
    };
    steady(&html.render().unwrap())
}

fn fleet_page(devices: &[DeviceView], streams: &[StreamView]) -> String {
    let fleet = FleetList::new(devices, streams, Role::Admin, samples::now());
    steady(&FleetPage { page: page(Section::Fleet, "Fleet"), fleet, may_enrol: true }.render().unwrap())
}

fn live_device(stream: &StreamView) -> DeviceView {
    DeviceView { live_stream: Some(stream.id), ..samples::device() }
}

#[test]
fn a_live_stream() {
    insta::assert_snapshot!(stream_page(&samples::live_stream()));
}

#[test]
fn a_failed_stream() {
    insta::assert_snapshot!(stream_page(&samples::failed_stream()));
}

fn device_page(device: &DeviceView, updates: &[DeviceUpdateView]) -> String {
    let rows = [StreamRow::new(&samples::failed_stream(), inputs(device), samples::now())];
    let html = DevicePage {
        page: page(Section::Fleet, "Device"),
        device: Device::new(device, None, Role::Admin, samples::now()),
        enrolment: None,
        streams: rows.into(),
        with_device: false,
        may_admin: true,
        updates: updates.iter().map(UpdateRow::new).collect(),
        forms: Forms::default(),
    };
    steady(&html.render().unwrap())
}

/// The part of a page between two texts that it holds.
fn between<'a>(html: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = html.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

#[test]
fn an_idle_device() {
    insta::assert_snapshot!(device_page(&samples::device(), &[]));
}

#[test]
fn a_device_whose_update_was_rolled_back() {
    let html = device_page(&samples::troubled_device(), &samples::updates());
    let now = between(&html, "<div id=\"device-now\"", "<div id=\"device-status\"");
    let system = between(&html, "<div id=\"device-system\"", "<h2>Streams</h2>");
    insta::assert_snapshot!(format!("{now}\n…\n{system}"));
}

#[test]
fn a_device_that_is_being_updated() {
    let html = device_page(&samples::updating_device(), &[]);
    assert!(html.contains("Updating, 43 %"));
    insta::assert_snapshot!(between(&html, "<div class=\"update\">", "</div>\n  <div class=\"scroll\">"));
}

#[test]
fn a_fleet_with_a_live_and_an_offline_device() {
    let stream = samples::live_stream();
    insta::assert_snapshot!(fleet_page(&[live_device(&stream), samples::offline_device()], &[stream]));
}

#[test]
fn a_device_that_needs_somebody_is_marked_in_the_fleet() {
    let html = fleet_page(&[samples::troubled_device(), samples::device()], &[]);
    assert!(html.contains("2 devices, 2 online, 0 live, 1 to look at"), "{html}");
    for words in ["Problem</span>", "Update rolled back</span>", "The data partition is full", "no &#60;frame&#62;"] {
        assert_eq!(html.matches(words).count(), 1, "{words}: {html}");
    }
}

fn go_live(fields: Option<&[(&str, &str)]>) -> String {
    let device = samples::device();
    let fields = fields.map(Fields::of);
    let wrong = fields.as_ref().map(|fields| read(fields, device.status.as_ref()).unwrap_err());
    let chosen = fields.as_ref().map_or("", |fields| fields.get("source")).to_owned();
    let html = GoLivePage {
        page: page(Section::Fleet, "Go live"),
        cannot: None,
        sources: sources(device.status.as_ref(), &chosen),
        destinations: Vec::new(),
        form: fields
            .as_ref()
            .zip(wrong.as_ref())
            .map_or_else(GoLiveForm::new, |(fields, wrong)| GoLiveForm::again(fields, wrong)),
        device: Device::new(&device, None, Role::Admin, samples::now()),
    };
    steady(&html.render().unwrap())
}

#[test]
fn the_go_live_form() {
    let html = go_live(None);
    assert!(!html.contains(r#"value="test-pattern" required checked"#), "no source is chosen beforehand");
    insta::assert_snapshot!(html);
}

#[test]
fn the_go_live_form_says_what_is_wrong_beside_each_field() {
    let sent = [
        ("target_kbps", "9000"),
        ("latency_ms", "20"),
        ("floor_kbps", "500"),
        ("ceiling_kbps", "6000"),
        ("key_frame_interval_ms", "1000"),
        ("audio_kbps", "128"),
        ("size", "1280x720"),
        ("frame_rate", "30/1"),
    ];
    let html = go_live(Some(&sent));
    for words in ["Choose where the picture comes from.", "Not below the lowest"] {
        assert!(html.contains(words), "{words}");
    }
    let mut latency = sent;
    latency[0].1 = "3000";
    assert!(go_live(Some(&latency)).contains("Between 100 and 10000 ms, please."));
    latency[1].1 = "soon";
    assert!(go_live(Some(&latency)).contains("“soon” is not a whole number that fits here."));
}

#[test]
fn a_test_pattern_is_said_loudly_wherever_it_shows() {
    let stream = samples::pattern_stream();
    let device = live_device(&stream);
    let row = StreamRow::new(&stream, &[], samples::now());
    let list = StreamsPage { page: page(Section::Streams, "Streams"), streams: vec![row], with_device: true };
    let of_device = DevicePage {
        page: page(Section::Fleet, "Device"),
        device: Device::new(&device, Some(&stream), Role::Viewer, samples::now()),
        enrolment: None,
        streams: Vec::new(),
        with_device: false,
        may_admin: false,
        updates: Vec::new(),
        forms: Forms::default(),
    };
    let pages = [
        fleet_page(std::slice::from_ref(&device), std::slice::from_ref(&stream)),
        of_device.render().unwrap(),
        stream_page(&stream),
        list.render().unwrap(),
    ];
    for html in pages {
        assert!(html.contains("TEST PATTERN"), "{html}");
    }
    assert!(stream_page(&stream).contains("It is not a camera."));
}

#[test]
fn every_state_and_role_renders() {
    for state in StreamState::ALL {
        for live in [true, false] {
            let mut stream = StreamView { state, stalled: true, device_online: false, ..samples::live_stream() };
            stream.live = stream.live.filter(|_| live);
            assert!(stream_page(&stream).contains("</html>"));
        }
    }
}
