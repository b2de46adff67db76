//! The life of a stream, with everything that dies on the way. The worker is a stand-in process (see
//! `examples/stand_in_worker.rs`); the relay's side of it, the database and the control protocol are the real ones.

mod common;

use std::ffi::OsString;

use common::{Bench, Device, eventually, go_live, reach, test_pattern, timeline};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use strata_control::{DeviceMessage, EndReason, RelayMessage, Source, StreamEnded, StreamId};
use strata_fleet::{FleetError, Role, StreamState};

#[tokio::test]
async fn a_stream_goes_live_and_ends_as_asked_and_everything_is_given_back() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    assert!(live.is_test_pattern && live.live_at.is_some());
    assert_eq!(device.seen.lock().unwrap().running, [live.id]);
    let started = device.commands().into_iter().find_map(|command| match command {
        RelayMessage::StreamStart(start) => Some(start),
        _ => None,
    });
    assert_eq!(started.unwrap().receive.ports, [live.port.unwrap()]);

    fleet.stop_stream(&admin, live.id).await.unwrap();
    let ended = reach(&fleet, &admin, live.id, StreamState::Ended).await;
    assert_eq!(ended.reason, Some(EndReason::StoppedByUser));
    assert_eq!(ended.detail.as_deref(), Some("stopped by admin@one.example"));
    assert!(device.seen.lock().unwrap().running.is_empty());
    assert_eq!(bench.worker_pid(live.id).await, None);
    let port = live.port.unwrap();
    eventually("the port is free again", || async { std::net::UdpSocket::bind((common::LOCALHOST, port)).ok() }).await;
    fleet.stop_stream(&admin, live.id).await.unwrap();

    let actions: Vec<String> = fleet.audit(&admin, None).await.unwrap().into_iter().map(|line| line.action).collect();
    for action in ["stream.stop", "stream.start", "device.enrol", "device.create"] {
        assert!(actions.iter().any(|known| known == action), "{action} in {actions:?}");
    }
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_killed_worker_comes_back_on_the_same_port_for_the_same_stream() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    let pid = bench.worker_pid(live.id).await.unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let back = eventually("another worker runs", || async {
        let view = fleet.stream(&admin, live.id).await.unwrap();
        assert_eq!(view.state, StreamState::Live);
        (view.live.as_ref().unwrap().worker_restarts == 1).then_some(view)
    })
    .await;
    assert_eq!(back.port, live.port);
    assert_ne!(bench.worker_pid(live.id).await, Some(pid));
    eventually("the timeline tells it", || async {
        let told = timeline(&fleet, &admin, live.id).await;
        (told.contains("SIGKILL") && told.contains("same UDP port")).then_some(())
    })
    .await;
    let starts = device.commands().iter().filter(|c| matches!(c, RelayMessage::StreamStart(_))).count();
    assert_eq!(starts, 1, "the device goes on sending and is not bothered");
    fleet.stop_stream(&admin, live.id).await.unwrap();
    reach(&fleet, &admin, live.id, StreamState::Ended).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_restarted_relay_takes_worker_and_device_back_and_interrupts_nothing() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    let pid = bench.worker_pid(live.id).await;
    fleet.shutdown().await;
    device.disconnect().await;
    drop(fleet);
    assert_eq!(bench.worker_pid(live.id).await, pid, "the worker goes on");

    let fleet = bench.open().await;
    eventually("the worker is taken back", || async { fleet.stream(&admin, live.id).await.unwrap().live?.worker })
        .await;
    device.connect(&fleet).await.unwrap();
    for _ in 0..3 {
        device.report().await;
    }
    eventually("the device's return is told", || async {
        timeline(&fleet, &admin, live.id).await.contains("connection is back").then_some(())
    })
    .await;
    let view = fleet.stream(&admin, live.id).await.unwrap();
    assert_eq!((view.state, view.port, view.play_key), (StreamState::Live, live.port, live.play_key));
    assert_eq!(bench.worker_pid(live.id).await, pid, "the same process");
    let starts = device.commands().iter().filter(|c| matches!(c, RelayMessage::StreamStart(_))).count();
    assert_eq!(starts, 1, "the encoder was not started again");
    fleet.stop_stream(&admin, live.id).await.unwrap();
    reach(&fleet, &admin, live.id, StreamState::Ended).await;
    eventually("the adopted worker is gone", || async { bench.worker_pid(live.id).await.is_none().then_some(()) })
        .await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_cannot_run_fails_the_stream_with_its_reason() {
    let mut bench = Bench::new();
    bench.config.worker_command = ["/bin/sh", "-c", "echo the plugin is broken >&2; exit 3"].map(OsString::from).into();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let id = eventually("the device is online", || async {
        fleet.start_stream(&admin, device.id, test_pattern()).await.ok()
    })
    .await;
    let failed = reach(&fleet, &admin, id, StreamState::Failed).await;
    assert_eq!(failed.reason, Some(EndReason::WorkerFailed));
    assert!(failed.detail.unwrap().contains("exit code 3"));
    assert!(failed.log.iter().any(|line| line.contains("the plugin is broken")), "{:?}", failed.log);
    fleet.shutdown().await;
}

fn ended(stream_id: StreamId) -> DeviceMessage {
    DeviceMessage::StreamEnded(StreamEnded {
        stream_id,
        reason: EndReason::SourceUnreadable,
        detail: "/dev/video0: unplugged".to_owned(),
        duration_ms: 5_000,
        bytes: 123_456,
        exit_status: None,
        log: vec!["last words".to_owned()],
    })
}

#[tokio::test]
async fn an_end_on_the_device_is_stored_with_its_reason_then_acknowledged_also_when_repeated() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    for round in 1..=2 {
        device.say(ended(live.id)).await;
        eventually("the end is acknowledged", || async {
            let acks = device.commands().iter().filter(|c| matches!(c, RelayMessage::StreamEndedResponse(_))).count();
            (acks == round).then_some(())
        })
        .await;
        let view = fleet.stream(&admin, live.id).await.unwrap();
        assert_eq!((view.state, view.reason), (StreamState::Failed, Some(EndReason::SourceUnreadable)));
        assert_eq!((view.bytes, view.log), (123_456, vec!["last words".to_owned()]));
        assert!(view.detail.unwrap().contains("/dev/video0"));
    }
    eventually("the worker is gone", || async { bench.worker_pid(live.id).await.is_none().then_some(()) }).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_the_device_lost_is_ended_and_a_lost_socket_ends_nothing() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    device.disconnect().await;
    eventually("the page knows", || async {
        timeline(&fleet, &admin, live.id).await.contains("media is not concerned").then_some(())
    })
    .await;
    assert_eq!(fleet.stream(&admin, live.id).await.unwrap().state, StreamState::Live);

    // It comes back without the stream: a reboot.
    device.seen.lock().unwrap().running.clear();
    device.connect(&fleet).await.unwrap();
    eventually("the end is seen", || async {
        device.report().await;
        fleet.stream(&admin, live.id).await.unwrap().state.is_over().then_some(())
    })
    .await;
    let failed = reach(&fleet, &admin, live.id, StreamState::Failed).await;
    assert_eq!(failed.reason, Some(EndReason::DeviceLostStream));
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_stop_while_the_device_is_away_is_brought_to_it_on_its_return() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    device.disconnect().await;
    fleet.stop_stream(&admin, live.id).await.unwrap();
    reach(&fleet, &admin, live.id, StreamState::Ended).await;
    device.connect(&fleet).await.unwrap();
    device.report().await;
    eventually("the device stops its encoder", || async {
        device.seen.lock().unwrap().running.is_empty().then_some(())
    })
    .await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_cannot_run_is_refused_with_a_sentence() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let refused = async |device, start| fleet.start_stream(&admin, device, start).await.unwrap_err().to_string();
    let (waiting, _) = fleet.create_device(&admin, "Waiting").await.unwrap();
    assert!(refused(waiting, test_pattern()).await.contains("not enrolled"));

    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let mut start = test_pattern();
    start.source = Source::Camera { input: "v4l2:/dev/video7".to_owned() };
    eventually("its inventory is known", || async { fleet.device(&admin, device.id).await.unwrap().status.map(drop) })
        .await;
    assert!(refused(device.id, start.clone()).await.contains("/dev/video7"));
    start.source = Source::File { path: "/etc/passwd".to_owned() };
    assert!(refused(device.id, start).await.contains("/etc/passwd"));
    let mut start = test_pattern();
    start.settings.latency_ms = 1;
    assert!(refused(device.id, start).await.contains("latency"));

    let live = go_live(&fleet, &admin, &device).await;
    assert!(refused(device.id, test_pattern()).await.contains("has a stream already"));
    fleet.stop_stream(&admin, live.id).await.unwrap();
    reach(&fleet, &admin, live.id, StreamState::Ended).await;
    device.disconnect().await;
    assert!(refused(device.id, test_pattern()).await.contains("offline"));
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_hot_change_succeeds_when_it_was_acknowledged_and_is_stored() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    fleet.switch_source(&admin, live.id, Source::TestPattern).await.unwrap();
    let update = serde_json::from_value(serde_json::json!({"latency_ms": 2000})).unwrap();
    fleet.update_stream(&admin, live.id, update).await.unwrap();
    let view = fleet.stream(&admin, live.id).await.unwrap();
    assert_eq!(view.settings.latency_ms, 2_000);
    assert!(device.commands().iter().any(|c| matches!(c, RelayMessage::ConfigUpdate(_))));

    device.disconnect().await;
    let error = fleet.switch_source(&admin, live.id, Source::TestPattern).await.unwrap_err();
    assert!(matches!(error, FleetError::DeviceOffline { .. }), "{error}");
    fleet.stop_stream(&admin, live.id).await.unwrap();
    reach(&fleet, &admin, live.id, StreamState::Ended).await;
    fleet.shutdown().await;
}

#[tokio::test]
async fn a_revoked_device_is_thrown_out_with_its_stream() {
    let bench = Bench::new();
    let fleet = bench.open().await;
    let admin = bench.person(&fleet, Role::Admin, "one").await;
    let mut device = Device::enrolled(&fleet, &admin, "Camera car").await;
    let live = go_live(&fleet, &admin, &device).await;
    fleet.revoke_device(&admin, device.id).await.unwrap();
    eventually("its socket is closed", || async { device.was_closed() }).await;
    let failed = reach(&fleet, &admin, live.id, StreamState::Failed).await;
    assert_eq!(failed.reason, Some(EndReason::DeviceRevoked));
    assert_eq!(device.connect(&fleet).await, Err(strata_control::Refusal::KeyRevoked));
    assert!(!fleet.device(&admin, device.id).await.unwrap().online);
    fleet.shutdown().await;
}
