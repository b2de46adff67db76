//! Devices that are updated, rolled back, rebooted and reset: commands with their answers, and the history that stays.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Answers, Bench, Device, bundle, eventually};
use strata_control::{
    AgentRollback, DeviceMessage, DeviceProblem, DeviceProblemKind, DeviceReboot, DeviceReset, DeviceStatus, LogChunk,
    MessageId, RelayMessage, SlotName, UpdateProgress, UpdateSchedule, UpdateStep,
};
use strata_fleet::{Actor, ErrorKind, Fleet, FleetError, FleetEvent, Role};

fn progress(version: &str, step: UpdateStep, percent: u8) -> UpdateProgress {
    UpdateProgress { version: version.to_owned(), slot: SlotName::B, percent, step, error: None }
}

/// The audit log's lines about maintenance, oldest first.
async fn audited(fleet: &Fleet, admin: &Actor) -> Vec<String> {
    let lines = fleet.audit(admin, None).await.unwrap().into_iter().rev();
    let actions = ["device.update", "device.roll_back", "device.reboot", "device.reset", "device.log"];
    let about = |action: &str| actions.contains(&action);
    lines.filter(|line| about(&line.action)).map(|line| format!("{} {}", line.action, line.detail)).collect()
}

#[tokio::test]
async fn each_command_reaches_the_device_and_succeeds_when_it_is_acknowledged() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    fleet.update_device(&admin, device.id, bundle("1.4.0")).await.unwrap();
    fleet.roll_back_device(&admin, device.id, true).await.unwrap();
    fleet.reboot_device(&admin, device.id, false).await.unwrap();
    fleet.reset_device(&admin, device.id, true).await.unwrap();

    let commands = device.commands();
    let [RelayMessage::AgentUpdate(update), rest @ ..] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!((update.version.as_str(), update.over_metered), ("1.4.0", false));
    assert_eq!((update.install, update.reboot), (UpdateSchedule::WhenIdle, UpdateSchedule::WhenIdle));
    assert!(update.bundle_url.ends_with("?signature=hidden"), "the device needs the whole address");
    let expected = [
        RelayMessage::AgentRollback(AgentRollback { even_if_live: true }),
        RelayMessage::DeviceReboot(DeviceReboot { even_if_live: false }),
        RelayMessage::DeviceReset(DeviceReset { keep_identity: true }),
    ];
    assert_eq!(rest, expected);
    let lines = [
        "device.update to 1.4.0 from https://updates.example/strata.raucb: accepted",
        "device.roll_back even while a stream is live: accepted",
        "device.reboot unless a stream is live: accepted",
        "device.reset keeping its identity: accepted",
    ];
    assert_eq!(audited(&fleet, &admin).await, lines);
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_refusal_a_silence_and_an_absence_are_told_apart_and_each_is_in_the_audit_log() {
    let mut bench = Bench::new();
    bench.config.timing.acknowledge = Duration::from_millis(300);
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    device.seen.lock().unwrap().maintenance = Answers::Refuses("a stream is live: stop it first");
    let refused = fleet.update_device(&admin, device.id, bundle("1.4.0")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the device refused: a stream is live: stop it first");
    device.seen.lock().unwrap().maintenance = Answers::Nothing;
    let silent = fleet.reboot_device(&admin, device.id, true).await.unwrap_err();
    assert!(matches!(silent, FleetError::DeviceSilent { .. }), "{silent}");
    device.disconnect().await;
    let offline = fleet.reset_device(&admin, device.id, false).await.unwrap_err();
    assert!(matches!(&offline, FleetError::DeviceOffline { device } if device == "Camera car"), "{offline}");
    let log = fleet.device_log(&admin, device.id, None).await.unwrap_err();
    assert!(matches!(log, FleetError::DeviceOffline { .. }), "{log}");

    let lines = audited(&fleet, &admin).await;
    let expected = [("device.update", "refused: a stream is live"), ("device.reboot", "did not answer")];
    let offline = [("device.reset its identity too", "offline"), ("device.log 1000 lines asked for", "offline")];
    for ((action, why), line) in expected.into_iter().chain(offline).zip(&lines) {
        assert!(line.starts_with(action) && line.contains(why), "{lines:?}");
    }
    assert_eq!(lines.len(), 4);
    let wrong = fleet.update_device(&admin, device.id, bundle("newest")).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Invalid, "{wrong}");
    assert_eq!(audited(&fleet, &admin).await.len(), 4, "what was never sent is no line");
    fleet.shutdown().await;
}

#[tokio::test]
async fn who_asked_may_go_away_and_the_audit_log_still_says_what_came_of_it() {
    let mut bench = Bench::new();
    bench.config.timing.acknowledge = Duration::from_secs(2);
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    device.seen.lock().unwrap().maintenance = Answers::Nothing;
    // Dropped as soon as the device was told, as a request is whose browser is gone.
    tokio::select! {
        answered = fleet.reboot_device(&admin, device.id, false) => panic!("{answered:?} before the device was told"),
        () = eventually("the device is told", || async { (!device.commands().is_empty()).then_some(()) }) => {}
    }
    assert!(audited(&fleet, &admin).await.is_empty(), "nothing is known yet");
    let lines = eventually("the line is written", || async {
        Some(audited(&fleet, &admin).await).filter(|lines| !lines.is_empty())
    });
    assert!(lines.await[0].contains("did not answer"));
    fleet.shutdown().await;
}

#[tokio::test]
async fn an_update_is_seen_as_it_goes_and_its_outcome_is_kept() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let mut events = fleet.subscribe(&admin);
    let say = async |told: UpdateProgress| device.say(DeviceMessage::UpdateProgress(told)).await;
    let shown = async |wanted: &UpdateProgress| {
        eventually("the device's newest update is shown", || async {
            let status = fleet.device(&admin, device.id).await.unwrap().status;
            (status.and_then(|status| status.update).as_ref() == Some(wanted)).then_some(())
        })
        .await;
    };
    say(progress("1.4.0", UpdateStep::Downloading, 12)).await;
    shown(&progress("1.4.0", UpdateStep::Downloading, 12)).await;
    let told = events.next().await.unwrap();
    assert!(matches!(told, FleetEvent::DeviceChanged { device_id, .. } if device_id == device.id), "{told:?}");
    say(progress("1.4.0", UpdateStep::Downloading, 71)).await;
    say(progress("1.4.0", UpdateStep::Verifying, 100)).await;
    let reason = "slot B: the encoder gave no frame within 60 s";
    let back = UpdateProgress { error: Some(reason.into()), ..progress("1.4.0", UpdateStep::RolledBack, 100) };
    // The status says it too, and again every 10 s.
    let problem = DeviceProblem { kind: DeviceProblemKind::Data, message: "the data partition is full".into() };
    let status = DeviceStatus { update: Some(back.clone()), problems: vec![problem], ..DeviceStatus::default() };
    for _ in 0..3 {
        device.say(DeviceMessage::DeviceStatus(status.clone())).await;
    }
    shown(&back).await;
    // The next one is known by its version once the device has looked into it, and is one attempt.
    say(progress("unknown", UpdateStep::Waiting, 0)).await;
    say(progress("1.4.1", UpdateStep::Waiting, 0)).await;
    shown(&progress("1.4.1", UpdateStep::Waiting, 0)).await;
    assert_eq!(fleet.device(&admin, device.id).await.unwrap().status.unwrap().problems, status.problems);

    let history = fleet.device_updates(&admin, device.id, None).await.unwrap();
    let steps: Vec<(&str, UpdateStep)> = history.iter().map(|update| (update.version.as_str(), update.step)).collect();
    assert_eq!(steps, [("1.4.1", UpdateStep::Waiting), ("1.4.0", UpdateStep::RolledBack)]);
    assert_eq!(history[1].error.as_deref(), Some(reason));
    assert!(history[1].started_at <= history[1].changed_at && history[1].changed_at <= history[0].started_at);
    assert_eq!(fleet.device_updates(&admin, device.id, Some(1)).await.unwrap().len(), 1);
    fleet.shutdown().await;

    // After the relay's restart the newest word is still there, and so is the history.
    let fleet = bench.open().await;
    let view = fleet.device(&admin, device.id).await.unwrap();
    assert_eq!(view.status.and_then(|status| status.update).unwrap().version, "1.4.1");
    assert_eq!(fleet.device_updates(&admin, device.id, None).await.unwrap(), history);
    fleet.shutdown().await;
}

fn chunk(index: u32, lines: &[&str], last: bool) -> LogChunk {
    let lines = lines.iter().map(|&line| line.to_owned()).collect();
    LogChunk { request_id: MessageId(uuid::Uuid::nil()), index, lines, last }
}

#[tokio::test]
async fn a_devices_log_comes_whole_or_not_at_all() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let operator = bench.person(&fleet, Role::Operator, "one").await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    device.seen.lock().unwrap().log = vec![chunk(0, &["one", "two"], false), chunk(1, &["three"], true)];
    assert_eq!(fleet.device_log(&operator, device.id, Some(3)).await.unwrap(), ["one", "two", "three"]);
    let asked = device.commands().into_iter().find_map(|command| match command {
        RelayMessage::LogRequest(request) => Some(request),
        _ => None,
    });
    assert_eq!(asked.map(|request| (request.stream_id, request.lines)), Some((None, 3)));
    let many: Vec<LogChunk> = (0..200).map(|index| chunk(index, &[&index.to_string()], index == 199)).collect();
    device.seen.lock().unwrap().log = many;
    let whole = fleet.device_log(&operator, device.id, Some(200)).await.unwrap();
    assert_eq!((whole.len(), whole[199].as_str()), (200, "199"), "however fast they come");
    for lines in [0, 10_001] {
        let wrong = fleet.device_log(&operator, device.id, Some(lines)).await.unwrap_err();
        assert_eq!(wrong.kind(), ErrorKind::Invalid, "{wrong}");
    }
    device.seen.lock().unwrap().maintenance = Answers::Refuses("the log cannot be read");
    let refused = fleet.device_log(&operator, device.id, None).await.unwrap_err();
    assert!(refused.to_string().contains("the log cannot be read"), "{refused}");

    device.seen.lock().unwrap().maintenance = Answers::Done;
    device.seen.lock().unwrap().log = vec![chunk(0, &["one"], false)];
    let (cut, ()) = tokio::join!(fleet.device_log(&operator, device.id, None), async {
        eventually("the device was asked", || async { (device.commands().len() == 4).then_some(()) }).await;
        device.disconnect().await;
    });
    assert!(cut.unwrap_err().to_string().contains("broke off"));
    let lines = audited(&fleet, &admin).await;
    let expected = ["3 lines asked for: 3 handed", "200 lines asked for: 200 handed", "the log cannot be", "broke off"];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, part) in lines.iter().zip(expected) {
        assert!(line.starts_with("device.log ") && line.contains(part), "{part}: {line}");
    }
    fleet.shutdown().await;
}
