//! Streams: start, change, stop, crashes, and agents that come and go.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use nix::sys::signal::Signal;
use strata_control::{
    BitrateBounds, CommandResult, ConfigUpdate, DeviceMessage, EncoderState, EndReason, LinkPolicy, RefusedCode,
    RelayMessage, Source, SourceSwitch, StreamId, StreamStart,
};
use strata_identity::KeyPair;
use support::{Connection, Device, Relay, TOKEN, runs, signal, stream, wait_for};

async fn online() -> (Relay, Device, Connection) {
    online_with("").await
}

async fn online_with(lines: &str) -> (Relay, Device, Connection) {
    let mut relay = Relay::start().await;
    let mut device = Device::with(&relay.url(), lines, &[]);
    device.write_token(TOKEN);
    device.start();
    let connection = relay.accept_login().await;
    (relay, device, connection)
}

/// Starts a stream and waits until its encoder runs: its process.
async fn live(device: &Device, connection: &mut Connection, start: &StreamStart) -> i32 {
    assert_eq!(connection.start(start).await, CommandResult::Done);
    running(connection, start.stream_id, 0).await;
    device.encoder_pid(start.stream_id).unwrap()
}

/// Waits until the stream's encoder was started again so often and runs.
async fn running(connection: &mut Connection, stream_id: StreamId, restarts: u32) {
    connection.forget();
    connection
        .status("the stream running", |status| {
            status.running_streams.iter().any(|stream| {
                stream.stream_id == stream_id && stream.state == EncoderState::Running && stream.restarts == restarts
            })
        })
        .await;
}

async fn update(connection: &mut Connection, update: ConfigUpdate) -> CommandResult {
    match connection.command(RelayMessage::ConfigUpdate(update)).await {
        DeviceMessage::ConfigUpdateResponse(result) => result,
        other => panic!("{other:?}"),
    }
}

async fn switch(connection: &mut Connection, stream_id: StreamId, source: Source) -> CommandResult {
    match connection.command(RelayMessage::SourceSwitch(SourceSwitch { stream_id, source })).await {
        DeviceMessage::SourceSwitchResponse(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_starts_sends_numbers_and_stops_with_its_reason() {
    let (_relay, device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    let stats = connection
        .expect("stream.stats", |message| match &message.message {
            DeviceMessage::StreamStats(stats) => Some(stats.clone()),
            _ => None,
        })
        .await;
    assert_eq!((stats.stream_id, stats.source, stats.encoder.width), (start.stream_id, Source::TestPattern, 320));
    assert_eq!(device.state().unwrap()["state"], "streaming");

    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done);
    let (_, ended) = connection.ended(start.stream_id).await;
    assert_eq!((ended.reason, ended.detail.as_str()), (EndReason::StoppedByUser, "Kim stopped it"));
    assert_eq!(ended.exit_status.unwrap().code, Some(0));
    assert!(!runs(pid));
    assert!(!device.path(&format!("run/encoder-{}.sock", start.stream_id)).exists());
    wait_for("the state", || device.state().is_some_and(|state| state["state"] == "idle")).await;
    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done, "stopping twice is a success");
}

#[tokio::test]
async fn what_is_wrong_with_a_stream_is_said_before_it_starts() {
    let (_relay, device, mut connection) = online().await;
    let mut odd = stream();
    odd.encoder.width = 321;
    let CommandResult::Refused { code, message } = connection.start(&odd).await else { panic!("accepted") };
    assert_eq!(code, RefusedCode::InvalidSettings);
    assert!(message.contains("321x180"), "{message}");

    let mut nowhere = stream();
    nowhere.receive.host = "no-such-host.invalid".into();
    let CommandResult::Refused { code, message } = connection.start(&nowhere).await else { panic!("accepted") };
    assert_eq!(code, RefusedCode::NoLinks);
    assert!(message.contains("no-such-host.invalid"), "{message}");

    let mut forbidden = stream();
    let no = |interface: &str| LinkPolicy { interface: interface.into(), enabled: false, priority: 0, metered: false };
    forbidden.links = vec![no("lo")];
    let CommandResult::Refused { code, message } = connection.start(&forbidden).await else { panic!("accepted") };
    assert_eq!(code, RefusedCode::NoLinks);
    assert!(message.contains("lo (Connected)"), "{message}");
    connection.forget();
    let status = connection.status("nothing running", |status| status.running_streams.is_empty()).await;
    assert!(status.running_streams.is_empty());
    assert_eq!(std::fs::read_dir(device.path("state/streams")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_file_ends_the_stream_with_the_encoders_words() {
    let (_relay, _device, mut connection) = online().await;
    let mut start = stream();
    start.source = Source::File { path: "/nonexistent/clip.mp4".into() };
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    let (_, ended) = connection.ended(start.stream_id).await;
    assert_eq!(ended.reason, EndReason::SourceMissing);
    assert!(ended.detail.contains("/nonexistent/clip.mp4"), "{}", ended.detail);
}

#[tokio::test]
async fn the_same_command_twice_changes_only_what_differs() {
    let (_relay, device, mut connection) = online().await;
    let mut start = stream();
    let pid = live(&device, &mut connection, &start).await;
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    start.encoder.bitrate = BitrateBounds { floor_bps: 200_000, target_bps: 400_000, ceiling_bps: 900_000 };
    start.encoder.latency_ms = 1_500;
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    assert_eq!(device.encoder_pid(start.stream_id), Some(pid));
    assert!(runs(pid));

    // Another worker is another encoder.
    start.worker_key = KeyPair::generate().public();
    assert_eq!(connection.start(&start).await, CommandResult::Done);
    running(&mut connection, start.stream_id, 1).await;
    assert!(!runs(pid));
    let replaced = device.encoder_pid(start.stream_id).unwrap();
    assert!(replaced != pid && runs(replaced));
}

#[tokio::test]
async fn hot_changes_are_checked_and_applied() {
    let (_relay, device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    let bitrate = |floor_bps| Some(BitrateBounds { floor_bps, target_bps: 400_000, ceiling_bps: 900_000 });
    let of_stream = ConfigUpdate { stream_id: Some(start.stream_id), ..ConfigUpdate::default() };
    let wrong = ConfigUpdate { bitrate: bitrate(500_000), ..of_stream.clone() };
    assert!(matches!(
        update(&mut connection, wrong).await,
        CommandResult::Refused { code: RefusedCode::InvalidSettings, .. }
    ));
    let late = ConfigUpdate { latency_ms: Some(50_000), ..of_stream.clone() };
    assert!(matches!(
        update(&mut connection, late).await,
        CommandResult::Refused { code: RefusedCode::InvalidSettings, .. }
    ));
    let right = ConfigUpdate { bitrate: bitrate(200_000), latency_ms: Some(800), ..of_stream };
    assert_eq!(update(&mut connection, right).await, CommandResult::Done);

    assert_eq!(switch(&mut connection, start.stream_id, Source::TestPattern).await, CommandResult::Done);
    let file = Source::File { path: "/nonexistent/clip.mp4".into() };
    let CommandResult::Refused { message, .. } = switch(&mut connection, start.stream_id, file).await else {
        panic!("a file that is not there was switched to")
    };
    assert!(message.contains("/nonexistent/clip.mp4"), "{message}");
    let CommandResult::Refused { code, .. } = switch(&mut connection, stream().stream_id, Source::TestPattern).await
    else {
        panic!("a stream that does not run was switched")
    };
    assert_eq!(code, RefusedCode::StreamUnknown);

    // The device's own settings survive the agent.
    let off = LinkPolicy { interface: "eth9".into(), enabled: false, priority: 1, metered: true };
    let links = ConfigUpdate { links: vec![off], ..ConfigUpdate::default() };
    assert_eq!(update(&mut connection, links).await, CommandResult::Done);
    let enrolment = std::fs::read_to_string(device.path("state/enrolment.json")).unwrap();
    assert!(enrolment.contains("eth9"), "{enrolment}");
    assert!(runs(pid));
}

#[tokio::test]
async fn a_crashed_encoder_is_started_again_three_times_then_the_stream_ends() {
    let (_relay, device, mut connection) = online().await;
    let start = stream();
    let mut pid = live(&device, &mut connection, &start).await;
    for restarts in 1..=3 {
        signal(pid, Signal::SIGKILL);
        running(&mut connection, start.stream_id, restarts).await;
        let next = device.encoder_pid(start.stream_id).unwrap();
        assert_ne!(next, pid);
        pid = next;
    }
    signal(pid, Signal::SIGKILL);
    let (_, ended) = connection.ended(start.stream_id).await;
    assert_eq!(ended.reason, EndReason::EncoderFailed);
    assert_eq!(ended.exit_status.unwrap().signal, Some(9));
    assert!(ended.detail.contains("SIGKILL") && ended.detail.contains("3 times"), "{}", ended.detail);
    assert!(!ended.log.is_empty());
    connection.forget();
    connection.status("nothing running", |status| status.running_streams.is_empty()).await;
}

#[tokio::test]
async fn each_restart_is_reported_with_its_reason() {
    let (_relay, device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    signal(pid, Signal::SIGKILL);
    let status = connection
        .status("the restart", |status| status.running_streams.iter().any(|stream| stream.restarts == 1))
        .await;
    let why = status.running_streams[0].last_restart.clone().unwrap();
    assert!(why.contains("signal 9"), "{why}");
}

#[tokio::test]
async fn an_end_is_repeated_until_the_relay_has_it() {
    let (mut relay, mut device, mut connection) = online().await;
    let start = stream();
    live(&device, &mut connection, &start).await;
    connection.stop(start.stream_id).await;
    let (_, first) = connection.ended(start.stream_id).await;
    // Not acknowledged: said again after the connection was lost …
    drop(connection);
    let mut connection = relay.accept_login().await;
    assert_eq!(connection.ended(start.stream_id).await.1, first);
    // … and by the next agent.
    device.kill();
    device.start();
    let mut connection = relay.accept_login().await;
    let (id, again) = connection.ended(start.stream_id).await;
    assert_eq!(again, first);
    // Until then the stream cannot be begun again behind the relay's back.
    let CommandResult::Refused { message, .. } = connection.start(&start).await else { panic!("accepted") };
    assert!(message.contains("Kim stopped it"), "{message}");
    connection.acknowledge(id, start.stream_id).await;
    wait_for("the report's end", || std::fs::read_dir(device.path("state/ended")).unwrap().count() == 0).await;
}

#[tokio::test]
async fn the_next_agent_takes_running_encoders_over() {
    let (mut relay, mut device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    device.kill();
    let stale = device.path(&format!("run/encoder-{}.sock", uuid::Uuid::now_v7()));
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    assert!(runs(pid));
    device.start();
    let mut connection = relay.accept_login().await;
    running(&mut connection, start.stream_id, 0).await;
    assert_eq!(device.encoder_pid(start.stream_id), Some(pid));
    assert!(!stale.exists(), "stale sockets are removed");
    // It is looked after as if it were the agent's own.
    signal(pid, Signal::SIGKILL);
    running(&mut connection, start.stream_id, 1).await;
    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done);
}

#[tokio::test]
async fn an_encoder_that_ended_without_an_agent_is_started_again() {
    let (mut relay, mut device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    device.kill();
    signal(pid, Signal::SIGKILL);
    wait_for("the encoder's end", || !runs(pid)).await;
    device.start();
    let mut connection = relay.accept_login().await;
    running(&mut connection, start.stream_id, 1).await;
}

#[tokio::test]
async fn losing_the_relay_or_the_agents_clean_end_leaves_the_stream_alone() {
    let (mut relay, mut device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    drop(connection);
    let mut connection = relay.accept_login().await;
    running(&mut connection, start.stream_id, 0).await;
    assert!(device.terminate().await.success());
    assert!(runs(pid));
    device.start();
    let mut connection = relay.accept_login().await;
    running(&mut connection, start.stream_id, 0).await;
    assert_eq!(device.encoder_pid(start.stream_id), Some(pid));
}

#[tokio::test]
async fn a_clean_end_stops_streams_where_that_is_wanted() {
    let (_relay, mut device, mut connection) = online_with("stop_streams_on_exit = true").await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    let (status, ended) = tokio::join!(device.terminate(), connection.ended(start.stream_id));
    assert!(status.success());
    assert_eq!(ended.1.reason, EndReason::DeviceShutdown);
    assert!(!runs(pid));
}

#[tokio::test]
async fn an_encoder_that_hangs_is_ended_and_started_again() {
    let (_relay, device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    signal(pid, Signal::SIGSTOP);
    let status = connection
        .status("the restart", |status| status.running_streams.iter().any(|stream| stream.restarts == 1))
        .await;
    let why = status.running_streams[0].last_restart.clone().unwrap();
    assert!(why.contains("no sign of life"), "{why}");
    running(&mut connection, start.stream_id, 1).await;
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_stream_from_before_a_reboot_is_reported_as_ended_by_it() {
    let (mut relay, mut device, mut connection) = online().await;
    let start = stream();
    let pid = live(&device, &mut connection, &start).await;
    device.kill();
    signal(pid, Signal::SIGKILL);
    wait_for("the encoder's end", || !runs(pid)).await;
    let record = device.path(&format!("state/streams/{}.json", start.stream_id));
    let mut content: serde_json::Value = serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap();
    content["boot_id"] = "another".into();
    std::fs::write(&record, content.to_string()).unwrap();
    device.start();
    let mut connection = relay.accept_login().await;
    let (_, ended) = connection.ended(start.stream_id).await;
    assert_eq!(ended.reason, EndReason::DeviceShutdown);
    assert!(!record.exists());
}
