//! The way of a person: add a device, go live by the form, read why it ended.

use crate::support::Site;
use strata_control::{DeviceMessage, DeviceStatus, MediaInput, MediaInputKind, MediaInputStatus};
use strata_fleet::Role;

const DEFAULTS: [(&str, &str); 8] = [
    ("size", "1280x720"),
    ("frame_rate", "30/1"),
    ("target_kbps", "3000"),
    ("latency_ms", "1000"),
    ("floor_kbps", "500"),
    ("ceiling_kbps", "6000"),
    ("key_frame_interval_ms", "1000"),
    ("audio_kbps", "128"),
];

fn with<'a>(source: &'a str, changed: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields: Vec<(&str, &str)> = DEFAULTS.to_vec();
    for (name, value) in changed {
        fields.retain(|(field, _)| field != name);
        fields.push((name, value));
    }
    fields.push(("source", source));
    fields
}

#[tokio::test]
async fn the_token_is_shown_once_with_its_qr_code() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let empty = kim.post("/devices", &[("name", " ")]).await;
    assert_eq!(empty.status, 422);
    assert!(empty.body.contains(r#"class="wrong""#), "{}", empty.body);
    let shown = kim.post("/devices", &[("name", "Van <2>")]).await;
    assert_eq!(shown.status, 200, "{}", shown.body);
    assert_eq!(shown.header("cache-control"), "no-store");
    assert!(shown.body.contains("<svg") && shown.body.contains("Van &#60;2&#62;"), "{}", shown.body);
    assert!(shown.body.contains(r#"aria-labelledby="relay-label">ws://127.0.0.1"#), "{}", shown.body);
    let token = shown.body.split(r#"id="token""#).nth(1).unwrap().split(['>', '<']).nth(1).unwrap().to_owned();
    assert!(token.len() >= 20, "{token}");
    for path in ["/", "/audit", "/api/devices", "/api/audit"] {
        assert!(!kim.get(path).await.body.contains(&token), "{path}");
    }
}

#[tokio::test]
async fn a_device_is_renamed_and_taken_out_of_service() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, _agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    let page = format!("/devices/{device}");
    assert_eq!(kim.post(&format!("{page}/rename"), &[("name", "Boat")]).await.status, 303);
    assert!(kim.get(&page).await.body.contains("<h1>Boat</h1>"));
    assert_eq!(kim.post(&format!("{page}/revoke"), &[]).await.status, 303);
    let revoked = kim.get(&page).await.body;
    assert!(revoked.contains("Revoked") && revoked.contains("Make a new token"), "{revoked}");
    assert!(kim.get(&format!("{page}/live")).await.body.contains("Its key was revoked"));
    assert_eq!(kim.post(&format!("{page}/delete"), &[]).await.header("location"), "/");
    assert_eq!(kim.get(&page).await.status, 404);
}

#[tokio::test]
async fn an_offline_device_says_so_instead_of_going_live() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Operator, "Club").await;
    site.user("boss@example.org", Role::Admin, "Club").await;
    let (device, agent) = site.online_device(&site.actor("boss@example.org").await, "Van 2").await;
    agent.connection.closed().await;
    let live = format!("/devices/{device}/live");
    let page = kim.get(&live).await;
    assert!(page.body.contains("It is offline, last seen"), "{}", page.body);
    assert!(page.body.contains(r#"type="submit" disabled>Go live"#), "{}", page.body);
    let sent = kim.post(&live, &with("test-pattern", &[])).await;
    assert_eq!(sent.status, 422);
    assert!(sent.body.contains("is offline"), "{}", sent.body);
}

#[tokio::test]
async fn the_form_asks_for_a_source_and_names_each_wrong_value() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, mut agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    let camera = MediaInput {
        id: "v4l2:/dev/video0".into(),
        label: "Cam <Link>".into(),
        kind: MediaInputKind::Camera,
        formats: Vec::new(),
        status: MediaInputStatus::Ready,
    };
    agent
        .say(DeviceMessage::DeviceStatus(DeviceStatus { media_inputs: vec![camera], ..DeviceStatus::default() }))
        .await;
    let live = format!("/devices/{device}/live");
    let form = kim.get(&live).await;
    assert!(form.body.contains("Cam &#60;Link&#62;") && !form.body.contains(" checked"), "{}", form.body);
    for (source, changed, said) in [
        ("", &[][..], "Choose where the picture comes from."),
        ("camera:v4l2:/dev/video9", &[], "Choose where the picture comes from."),
        ("file:/etc/shadow", &[], "Choose where the picture comes from."),
        ("test-pattern", &[("latency_ms", "20")], "Between 100 and 10000 ms, please."),
        ("test-pattern", &[("target_kbps", "lots")], "“lots” is not a whole number that fits here."),
        ("test-pattern", &[("target_kbps", "9999999")], "is not a whole number that fits here."),
        ("test-pattern", &[("target_kbps", "100")], "Not below the lowest and not above the highest bitrate"),
        ("test-pattern", &[("size", "1281x720")], "even numbers expected"),
        ("test-pattern", &[("frame_rate", "1/0")], "denominator"),
        ("test-pattern", &[("destination", "0192f0a0-0000-7000-8000-00000000dead")], "destination"),
    ] {
        let answer = kim.post(&live, &with(source, changed)).await;
        assert_eq!(answer.status, 422, "{source} {changed:?}");
        assert!(answer.body.contains(said), "{source} {changed:?}: {said} is missing:\n{}", answer.body);
        for (_, typed) in changed.iter().filter(|(name, _)| name.ends_with("_kbps") || name.ends_with("_ms")) {
            assert!(answer.body.contains(&format!(r#"value="{typed}""#)), "what was typed stays: {typed}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_failed_tells_why_on_its_page_and_on_the_devices() {
    let site = Site::start().await;
    let mut kim = site.person("kim@example.org", Role::Admin, "Club").await;
    let (device, _agent) = site.online_device(&site.actor("kim@example.org").await, "Van 2").await;
    let sent = kim.post(&format!("/devices/{device}/live"), &with("test-pattern", &[])).await;
    assert_eq!(sent.status, 303, "{}", sent.body);
    let path = sent.header("location").to_owned();
    let mut page = kim.get(&path).await;
    assert!(page.body.contains("TEST PATTERN"));
    for _ in 0..300 {
        if page.body.contains("Failed: ") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        page = kim.get(&path).await;
    }
    assert!(page.body.contains("Failed: the relay’s worker failed again and again"), "{}", page.body);
    assert!(!page.body.contains("Stop the stream"));
    let of_device = kim.get(&format!("/devices/{device}")).await;
    assert!(of_device.body.contains("The relay’s worker failed again and again"), "{}", of_device.body);
    assert_eq!(kim.post(&format!("{path}/stop"), &[]).await.status, 303, "stopping what is over is a success");
    assert_eq!(kim.post(&format!("{path}/source"), &[("source", "nothing")]).await.status, 422);
    assert_eq!(kim.post(&format!("{path}/source"), &[("source", "test-pattern")]).await.status, 409);
}
