//! Where the relay is: given at the enrolment, picked up by the running agent, and changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use strata_control::{AuthLoginResponse, Credential, Refusal};
use support::{Device, Relay, TOKEN, login_answer, wait_for};

#[tokio::test]
async fn a_device_without_a_relay_says_what_to_do_and_finds_the_one_that_is_named() {
    let mut relay = Relay::start().await;
    let mut device = Device::new("");
    device.start();
    let error = device.last_error("knows no relay").await;
    assert_eq!(error["kind"], "not_enrolled");
    assert!(error["message"].as_str().unwrap().contains("strata-agent enrol --relay"), "{error}");
    let state = device.state().unwrap();
    assert_eq!((&state["state"], state["relay_url"].is_null()), (&"connecting".into(), true));

    let (done, said) = device.enrol(&["--relay", &relay.url()], TOKEN);
    assert!(done, "{said}");
    assert!(said.contains("within seconds") && !said.contains(TOKEN), "{said}");
    relay.accept_login().await.status("anything", |_| true).await;
    wait_for("the relay in state.json", || {
        device.state().is_some_and(|state| state["relay_url"] == format!("{}/agent/ws", relay.url()))
    })
    .await;
    // The next agent knows it, too, and what was written is the device's alone.
    device.kill();
    let mode = |name: &str| fs::metadata(device.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state/relay.toml"), mode("run/state.json")), (0o600, 0o644));
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
}

#[tokio::test]
async fn a_connected_device_moves_to_another_relay_with_a_new_token() {
    let (mut first, mut second) = (Relay::start().await, Relay::start().await);
    let mut device = Device::new("");
    device.start();
    device.last_error("knows no relay").await;
    assert!(device.enrol(&["--relay", &first.url()], TOKEN).0);
    first.accept_login().await.status("anything", |_| true).await;

    let (done, said) = device.enrol(&["--relay", &second.url()], TOKEN);
    assert!(done && said.contains(&first.url()) && said.contains("until it is removed there"), "{said}");
    // The other one does not know it yet: its key is refused, then the token taken.
    let mut connection = second.accept().await;
    let (id, login) = connection.login().await;
    assert_eq!(login.credential, Credential::Hello { device_id: first.device_id });
    let message = "never heard of it".to_owned();
    connection.answer(id, login_answer(AuthLoginResponse::Refused { reason: Refusal::DeviceUnknown, message })).await;
    second.accept_login().await.status("anything", |_| true).await;
    wait_for("the new enrolment", || {
        device.state().is_some_and(|state| state["device_id"] == second.device_id.to_string())
    })
    .await;
    assert!(!device.path("state/enrolment-token").exists());
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_written() {
    let device = Device::new("");
    let (done, said) = device.enrol(&["--relay", "wss://relay.example.net"], TOKEN);
    assert!(!done && said.contains("start it once"), "{said}");
    fs::create_dir(device.path("state")).unwrap();
    let garbage = device.path("garbage.pem").display().to_string();
    fs::write(&garbage, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    for (arguments, token, part) in [
        (&[][..], TOKEN, "add --relay URL"),
        (&["--relay", "ws://relay.example.net"], TOKEN, "not encrypted"),
        (&["--relay", "relay.example.net"], TOKEN, "wss://"),
        (&["--ca", &garbage], TOKEN, "--relay"),
        (&["--relay", "wss://relay.example.net", "--ca", &garbage], TOKEN, "garbage.pem"),
        (&["--relay", "wss://relay.example.net", "--ca", "/nonexistent.pem"], TOKEN, "/nonexistent.pem"),
        (&["--relay", "wss://relay.example.net"], "", "no enrolment token"),
    ] {
        let (done, said) = device.enrol(arguments, token);
        assert!(!done && said.contains(part), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read_dir(device.path("state")).unwrap().count(), 0);

    let configured = Device::new("wss://relay.example.net");
    fs::create_dir(configured.path("state")).unwrap();
    let (done, said) = configured.enrol(&["--relay", "wss://other.example.net"], TOKEN);
    assert!(!done && said.contains("relay_url"), "{said}");
}

#[tokio::test]
async fn what_root_writes_is_the_agents() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: only root can write for another user");
        return;
    }
    let device = Device::new("");
    let state = device.path("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(4_242), Some(4_243)).unwrap();
    let (done, said) = device.enrol(&["--relay", "wss://relay.example.net"], TOKEN);
    assert!(done, "{said}");
    for name in ["relay.toml", "enrolment-token"] {
        let file = fs::metadata(state.join(name)).unwrap();
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (4_242, 4_243, 0o600), "{name}");
    }
}
