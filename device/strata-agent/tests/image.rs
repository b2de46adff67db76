//! What an image adds: the update daemon's slots, progress and commands, the device's problems, the system's journal.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use strata_control::{
    AgentRollback, AgentUpdate, CommandResult, DeviceMessage, DeviceProblem, DeviceProblemKind, DeviceReboot,
    DeviceReset, LogRequest, RefusedCode, RelayMessage, SlotName, UpdateProgress, UpdateSchedule, UpdateStep,
};
use strata_update_protocol::{Answer, Install, Request, Status};
use support::update::{UpdateDaemon, status, updating};
use support::{Connection, Device, Relay, TOKEN};

async fn online() -> (Relay, Device, Connection) {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    let connection = relay.accept_login().await;
    (relay, device, connection)
}

async fn progress(connection: &mut Connection) -> UpdateProgress {
    connection
        .expect("update.progress", |message| match &message.message {
            DeviceMessage::UpdateProgress(progress) => Some(progress.clone()),
            _ => None,
        })
        .await
}

fn problem(message: &str) -> DeviceProblem {
    DeviceProblem { kind: DeviceProblemKind::Boot, message: message.to_owned() }
}

#[tokio::test]
async fn slots_and_progress_are_told_on_change_and_the_newest_again_after_each_login() {
    let (mut relay, device, mut connection) = online().await;
    let told = connection.status("no slots", |_| true).await;
    assert_eq!((told.slots, told.update), (vec![], None));
    let mut daemon = UpdateDaemon::start(&device);
    daemon.watched(&status()).await;
    let told = connection.status("slots", |told| !told.slots.is_empty()).await;
    assert_eq!((told.slots, told.update), (status().slots, None));

    daemon.say(&updating(UpdateStep::Downloading, 40)).await;
    assert_eq!(
        (progress(&mut connection).await.percent, connection.status("it", |s| s.update.is_some()).await.update),
        (40, updating(UpdateStep::Downloading, 40).update)
    );
    // What says nothing new about the update is no progress.
    let with_problem =
        Status { problems: vec![problem("slot B was passed over")], ..updating(UpdateStep::Downloading, 40) };
    daemon.say(&with_problem).await;
    let told = connection.status("the problem", |told| !told.problems.is_empty()).await;
    assert_eq!(told.problems, with_problem.problems);
    daemon.say(&updating(UpdateStep::Installed, 100)).await;
    assert_eq!(progress(&mut connection).await.step, UpdateStep::Installed);

    drop(connection);
    daemon.say(&updating(UpdateStep::RebootPending, 100)).await;
    let mut connection = relay.accept_login().await;
    assert_eq!(progress(&mut connection).await.step, UpdateStep::RebootPending);
    assert_eq!(progress_left(&mut connection).await, 0);

    daemon.stop();
    connection.status("no slots any more", |told| told.slots.is_empty() && told.update.is_none()).await;
}

/// How many more messages about the update come before the next regular status.
async fn progress_left(connection: &mut Connection) -> usize {
    connection.forget();
    let mut count = 0;
    loop {
        match connection.receive().await.unwrap().message {
            DeviceMessage::UpdateProgress(_) => count += 1,
            DeviceMessage::DeviceStatus(told) if told.update.is_some() => return count,
            _ => {}
        }
    }
}

#[tokio::test]
async fn commands_are_the_update_daemons_to_accept_or_refuse() {
    let (_relay, device, mut connection) = online().await;
    let mut daemon = UpdateDaemon::start(&device);
    daemon.watched(&status()).await;
    let not_before = UpdateSchedule::NotBefore { at: "2030-01-01T02:00:00Z".parse().unwrap() };
    let update = AgentUpdate {
        bundle_url: "https://relay.example.net/1.1.raucb".into(),
        version: "1.1".into(),
        manifest_sha256: Some("ab".repeat(32)),
        over_metered: true,
        install: UpdateSchedule::WhenIdle,
        reboot: not_before,
    };
    let install = Install {
        source: update.bundle_url.clone(),
        version: Some("1.1".into()),
        manifest_sha256: update.manifest_sha256.clone(),
        over_metered: true,
        install: UpdateSchedule::WhenIdle,
        reboot: not_before,
    };
    let refused = Answer::Refused { code: RefusedCode::Busy, message: "a stream is live".into() };
    for (command, request) in [
        (RelayMessage::AgentUpdate(update), Request::Install(install)),
        (RelayMessage::AgentRollback(AgentRollback { even_if_live: true }), Request::Rollback { even_if_live: true }),
        (RelayMessage::DeviceReboot(DeviceReboot { even_if_live: false }), Request::Reboot { even_if_live: false }),
        (
            RelayMessage::DeviceReset(DeviceReset { keep_identity: true }),
            Request::Reset { keep_identity: true, even_if_live: false },
        ),
    ] {
        for (answer, result) in [
            (Answer::Accepted, CommandResult::Done),
            (refused.clone(), CommandResult::Refused { code: RefusedCode::Busy, message: "a stream is live".into() }),
        ] {
            let (asked, answered) = tokio::join!(daemon.answer(&answer), connection.command(command.clone()));
            assert_eq!(asked, request);
            let (DeviceMessage::AgentUpdateResponse(got)
            | DeviceMessage::AgentRollbackResponse(got)
            | DeviceMessage::DeviceRebootResponse(got)
            | DeviceMessage::DeviceResetResponse(got)) = answered
            else {
                panic!("{answered:?}")
            };
            assert_eq!(got, result, "{request:?}");
        }
    }
}

#[tokio::test]
async fn problems_of_all_who_look_are_told_once() {
    let (_relay, device, mut connection) = online().await;
    let mut daemon = UpdateDaemon::start(&device);
    daemon.watched(&Status { problems: vec![problem("both"), problem("the daemon's")], ..status() }).await;
    fs::write(
        device.path("problems.json"),
        r#"[{"kind":"boot","message":"both"},{"kind":"settings","message":"an unknown time zone"}]"#,
    )
    .unwrap();
    let told = connection.status("the problems", |told| told.problems.len() == 3).await;
    let messages: Vec<&str> = told.problems.iter().map(|problem| &*problem.message).collect();
    assert_eq!(messages, ["both", "the daemon's", "an unknown time zone"]);
    assert_eq!(device.state().unwrap()["problems"].as_array().unwrap().len(), 3);
    fs::remove_file(device.path("problems.json")).unwrap();
    connection.status("fewer problems", |told| told.problems.len() == 2).await;
}

/// Starts an agent that takes this machine for one with our image, and whose `journalctl` is a stand-in.
async fn on_image(journalctl: &str) -> Option<(Relay, Device, Connection)> {
    let relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    fs::write(device.path("os-release"), "ID=strata\nIMAGE_VERSION=1.0\n").unwrap();
    fs::write(device.path("cmdline"), "root=/dev/vda4 rauc.slot=B\n").unwrap();
    fs::create_dir(device.path("bin")).unwrap();
    fs::write(device.path("bin/journalctl"), format!("#!/bin/sh\n{journalctl}\n")).unwrap();
    fs::set_permissions(device.path("bin/journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
    let setup = "mount --bind os-release /etc/os-release; mount --bind cmdline /proc/cmdline; PATH=$PWD/bin:$PATH";
    if !device.start_after(setup) {
        return None;
    }
    let mut connection = relay.accept().await;
    let (id, login) = connection.login().await;
    assert_eq!(login.agent.image_version.as_deref(), Some("1.0"));
    assert_eq!(login.agent.booted_slot, Some(SlotName::B));
    connection.answer(id, support::login_answer(relay.accepted())).await;
    Some((relay, device, connection))
}

async fn log(connection: &mut Connection) -> Vec<String> {
    let id = connection.say(RelayMessage::LogRequest(LogRequest { stream_id: None, lines: 3 })).await;
    connection
        .expect("log.chunk", |message| match &message.message {
            DeviceMessage::LogChunk(chunk) if chunk.request_id == id && chunk.last => Some(chunk.lines.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn an_image_sends_the_whole_systems_journal_and_misses_its_update_daemon() {
    let Some((_relay, _device, mut connection)) = on_image("echo kernel: hello; printf '%s\\n' \"$*\"").await else {
        return;
    };
    assert_eq!(log(&mut connection).await, ["kernel: hello", "-n 3 -o short-iso --no-pager --quiet"]);
    let reboot = RelayMessage::DeviceReboot(DeviceReboot { even_if_live: false });
    let answer = connection.command(reboot).await;
    let DeviceMessage::DeviceRebootResponse(CommandResult::Refused { code, message }) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(code, RefusedCode::Failed);
    assert!(message.contains("strata-update"), "{message}");
}

#[tokio::test]
async fn an_agent_that_may_not_read_the_journal_sends_its_own_log() {
    let Some((_relay, _device, mut connection)) = on_image("echo no >&2; exit 1").await else { return };
    let lines = log(&mut connection).await;
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().any(|line| line.contains("strata_agent")), "{lines:?}");
}
