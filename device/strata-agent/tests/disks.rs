//! Disks that are missing, read-only or full: the device starts, says so, and streams.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use strata_control::{
    CommandResult, DeviceMessage, DeviceProblemKind, DeviceStatus, EncoderState, EndReason, LogRequest, RelayMessage,
    StreamStart,
};
use support::{Connection, Device, Relay, TOKEN, stream};

/// A device that is enrolled, and stopped.
async fn enrolled() -> (Relay, Device) {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
    assert!(device.terminate().await.success());
    (relay, device)
}

async fn live(connection: &mut Connection, start: &StreamStart) {
    assert_eq!(connection.start(start).await, CommandResult::Done);
    let running = |status: &DeviceStatus| {
        status.running_streams.iter().any(|stream| stream.state == EncoderState::Running && stream.restarts == 0)
    };
    connection.status("the stream running", running).await;
}

/// The stream's log, or why there is none.
async fn stream_log(connection: &mut Connection, start: &StreamStart) -> Result<Vec<String>, String> {
    let request = LogRequest { stream_id: Some(start.stream_id), lines: 10 };
    let id = connection.say(RelayMessage::LogRequest(request)).await;
    connection
        .expect("log.chunk", |message| match &message.message {
            DeviceMessage::LogChunk(chunk) if chunk.request_id == id && chunk.last => Some(Ok(chunk.lines.clone())),
            DeviceMessage::LogRequestResponse(CommandResult::Refused { message, .. }) => Some(Err(message.clone())),
            _ => None,
        })
        .await
}

fn recorded() -> StreamStart {
    StreamStart { record_locally: true, ..stream() }
}

#[tokio::test]
async fn without_a_data_disk_it_streams_and_says_so() {
    let (mut relay, mut device) = enrolled().await;
    // A file where the folders should be: no folder can be made there, by root neither.
    for name in ["media", "log"] {
        fs::remove_dir(device.path(name)).unwrap();
        fs::write(device.path(name), "").unwrap();
    }
    device.start();
    let mut connection = relay.accept_login().await;
    let status = connection.status("both problems", |status| status.problems.len() == 2).await;
    for (problem, part) in status.problems.iter().zip(["nothing is recorded", "keep no logs"]) {
        assert_eq!(problem.kind, DeviceProblemKind::Data);
        assert!(problem.message.contains(part), "{}", problem.message);
    }
    let start = recorded();
    live(&mut connection, &start).await;
    let output = format!("/proc/{}/fd/1", device.encoder_pid(start.stream_id).unwrap());
    assert_eq!(fs::read_link(output).unwrap().to_str(), Some("/dev/null"));
    assert!(!device.path(&format!("run/encoder-{}.log", start.stream_id)).exists());
    assert!(stream_log(&mut connection, &start).await.unwrap_err().contains("cannot read the log"));
    // The disk is back: nothing is wrong any more.
    for name in ["media", "log"] {
        fs::remove_file(device.path(name)).unwrap();
    }
    connection.status("no problem", |status| status.problems.is_empty()).await;
    assert!(device.path("media").is_dir());
}

#[tokio::test]
async fn a_full_data_disk_is_told_and_harms_no_stream() {
    let (mut relay, mut device) = enrolled().await;
    let setup = "mount -t tmpfs -o size=8m none media; mount -t tmpfs -o size=8m none log; \
                 head -c 8300000 /dev/zero > media/old.ts; head -c 9000000 /dev/zero > log/old || true";
    if !device.start_after(setup) {
        return;
    }
    let mut connection = relay.accept_login().await;
    let status = connection.status("both problems", |status| status.problems.len() == 2).await;
    let [media, log] = &status.problems[..] else { panic!("{:?}", status.problems) };
    assert!(media.message.contains("media is full, less than 163 KiB of 8192 KiB"), "{media:?}");
    assert!(media.message.ends_with("delete old recordings"), "{media:?}");
    assert!(log.message.contains("log is full") && log.message.ends_with("delete old logs"), "{log:?}");
    assert_eq!((media.kind, log.kind), (DeviceProblemKind::Data, DeviceProblemKind::Data));
    assert_eq!(status.disk.total_bytes, 8 * 1024 * 1024, "the status is about the disk of recordings");
    let start = recorded();
    live(&mut connection, &start).await;
    assert!(stream_log(&mut connection, &start).await.is_err());
    assert!(device.log().contains("takes no logs"));
    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done);
}

#[tokio::test]
async fn on_a_read_only_disk_a_known_device_logs_in_streams_and_reports() {
    let (mut relay, mut device) = enrolled().await;
    relay.config.name = "Renamed meanwhile".into();
    if !device.start_after("mount --bind state state; mount -o remount,ro,bind state") {
        return;
    }
    let mut connection = relay.accept_login().await;
    let status = connection.status("the problem", |status| !status.problems.is_empty()).await;
    assert_eq!(status.problems.len(), 1);
    assert_eq!(status.problems[0].kind, DeviceProblemKind::Identity);
    assert!(status.problems[0].message.contains("in memory only"), "{:?}", status.problems);
    assert_eq!(device.state().unwrap()["name"], "Renamed meanwhile");

    let start = stream();
    live(&mut connection, &start).await;
    assert_eq!(connection.stop(start.stream_id).await, CommandResult::Done);
    let (_, first) = connection.ended(start.stream_id).await;
    assert_eq!(first.reason, EndReason::StoppedByUser);
    // Not acknowledged: repeated from memory.
    drop(connection);
    let mut connection = relay.accept_login().await;
    let (id, again) = connection.ended(start.stream_id).await;
    assert_eq!(again, first);
    connection.acknowledge(id, start.stream_id).await;
    // One agent only, here as well.
    let second = device.command().output().unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("another agent"), "{second:?}");
}

#[tokio::test]
async fn a_device_without_a_key_says_that_it_needs_a_disk() {
    let mut device = Device::new("");
    fs::create_dir(device.path("state")).unwrap();
    if !device.start_after("mount --bind state state; mount -o remount,ro,bind state") {
        return;
    }
    assert!(!device.ended().await.success());
    assert!(device.log().contains("no key yet") && device.log().contains("Read-only file system"), "{}", device.log());
}

#[tokio::test]
async fn a_power_cut_while_the_key_was_made_leaves_no_half_of_one() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    fs::write(device.path("state/device.new"), "-----BEGIN PRIV").unwrap();
    device.start();
    relay.accept_login().await.status("anything", |_| true).await;
    assert!(device.path("state/device.key").exists() && !device.path("state/device.new").exists());
}

#[tokio::test]
async fn systemds_folder_is_taken_as_it_is() {
    let mut relay = Relay::start().await;
    let mut device = Device::new(&relay.url());
    device.write_token(TOKEN);
    fs::create_dir(device.path("run")).unwrap();
    fs::set_permissions(device.path("run"), fs::Permissions::from_mode(0o750)).unwrap();
    device.start();
    let mut connection = relay.accept_login().await;
    let start = stream();
    live(&mut connection, &start).await;
    let mode = |name: &str| fs::metadata(device.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run"), mode("run/state.json")), (0o750, 0o644));
}
