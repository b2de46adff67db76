//! The worker as a process: what the relay and bad input get to see.

#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use strata_control::EndReason;
use strata_worker_protocol::{MAX_LINE_BYTES, WorkerCommand, WorkerEvent};
use support::{Device, Stream, Worker, media};

#[test]
fn the_socket_is_for_its_owner_alone_and_the_newest_relay_wins() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&stream.config.socket), 0o600);
    assert_eq!(mode(stream.config.socket.parent().unwrap()), 0o700);
    let mut newest = Worker::spawn_line(stream.folder.path(), b"{}\n", &[]);
    newest.connect(&stream);
    newest.wait_event("ready", |event| matches!(event, WorkerEvent::Ready { .. }));
    // The former connection ends.
    while worker.relay().events.recv().is_ok() {}
    newest.send(&WorkerCommand::Stop);
    newest.wait_event("stopped", |event| *event == WorkerEvent::Stopped);
    assert!(worker.wait_exit().success());
}

#[test]
fn garbage_on_the_socket_is_answered_and_changes_nothing() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    worker.send_bytes(b"hello\n");
    worker.wait_error("not a command");
    worker.send_bytes(b"{\"command\":\"fly\"}\n");
    worker.wait_error("not a command");
    worker.send_bytes(&[0xff, 0xfe, b'\n']);
    worker.wait_error("UTF-8");
    let mut long = vec![b'x'; MAX_LINE_BYTES + 1_000];
    long.push(b'\n');
    worker.send_bytes(&long);
    worker.wait_error("a line of more than");
    worker.send(&WorkerCommand::Stats);
    worker.wait_event("stats", |event| matches!(event, WorkerEvent::Stats { .. }));
    worker.stop();
}

#[test]
fn a_port_in_use_is_told_with_its_remedy() {
    let stream = Stream::new();
    let _taken = std::net::UdpSocket::bind(stream.config.listen).unwrap();
    let mut worker = Worker::spawn(&stream);
    worker.connect(&stream);
    let event = worker.wait_event("fatal error", |event| matches!(event, WorkerEvent::Error { .. }));
    let WorkerEvent::Error { reason, message, fatal } = event else { unreachable!() };
    assert!(fatal && reason == EndReason::NoPort);
    assert!(message.contains(&stream.config.listen.to_string()) && message.contains("in use"), "{message}");
    assert!(!worker.wait_exit().success());
}

#[test]
fn a_missing_plugin_is_told_with_the_package_that_has_it() {
    let stream = Stream::new();
    let empty = stream.folder.path().join("no-plugins");
    std::fs::create_dir(&empty).unwrap();
    let registry = stream.folder.path().join("registry.bin");
    let environment =
        [("GST_PLUGIN_SYSTEM_PATH", empty.as_path()), ("GST_PLUGIN_PATH", &empty), ("GST_REGISTRY", &registry)];
    let mut worker = Worker::spawn_with(&stream, &environment);
    worker.connect(&stream);
    let message = worker.wait_error("appsink");
    assert!(message.contains("gstreamer1.0-plugins-base"), "{message}");
    assert_eq!(worker.wait_exit().code(), Some(1));
}

#[test]
fn a_bad_configuration_ends_with_a_message_that_quotes_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    for line in [b"".as_slice(), b"hunter2\n", b"{\"key\":\"hunter2\"}\n"] {
        let mut worker = Worker::spawn_line(folder.path(), line, &[]);
        assert_eq!(worker.wait_exit().code(), Some(1));
        let log = worker.log();
        assert!(log.contains("configuration") && !log.contains("hunter2"), "{log}");
    }
}

#[test]
fn two_workers_never_write_to_one_folder() {
    let first = Stream::new();
    let mut worker = Worker::start(&first);
    let mut second = Stream::new();
    second.config.hls_folder = first.config.hls_folder.clone();
    let mut other = Worker::spawn(&second);
    other.connect(&second);
    let message = other.wait_error("another worker writes");
    assert!(message.contains(first.hls().to_str().unwrap()), "{message}");
    assert!(!other.wait_exit().success());
    worker.stop();
}

#[test]
fn sigterm_ends_the_playlist() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let device = Device::start(&stream);
    device.feed_all(&media(4), 4.0);
    worker.wait_stats("segments", |stats| stats.hls_segments >= 2);
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait_exit().success());
    assert!(stream.playlist().unwrap().end_list);
}

#[test]
fn an_orphan_without_input_ends_by_itself() {
    let mut stream = Stream::new();
    stream.config.orphan_timeout_s = 2;
    let mut worker = Worker::spawn(&stream);
    assert!(worker.wait_exit().success());
    assert!(worker.log().contains("neither relay nor input"));
}
