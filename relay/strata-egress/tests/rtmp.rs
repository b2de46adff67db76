//! The worker as a process: forwarding by RTMP to a real server.

#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use strata_worker_protocol::{DestinationState, WorkerCommand};
use support::{Device, Stream, Worker, destination, media, packet_times, wait_for};

/// ffmpeg as an RTMP server that records one connection.
struct Server(Child);

impl Server {
    fn start(port: u16, output: &Path) -> Self {
        let url = format!("rtmp://127.0.0.1:{port}/live/hunter2");
        let child = Command::new("ffmpeg")
            .args(["-v", "error", "-listen", "1", "-f", "flv", "-i", &url, "-c", "copy", "-flush_packets", "1", "-y"])
            .arg(output)
            .stdin(Stdio::null())
            .spawn()
            .expect("ffmpeg is installed");
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn state_of(stats: &strata_worker_protocol::WorkerStats, id: &str) -> Option<DestinationState> {
    stats.destinations.iter().find(|destination| destination.id == id).map(|destination| destination.state)
}

#[test]
fn a_server_gets_the_stream_and_a_dead_one_disturbs_nobody() {
    let mut stream = Stream::new();
    let (good, dead) = (free_port(), free_port());
    let recording = stream.folder.path().join("received.ts");
    let good_url = format!("rtmp://127.0.0.1:{good}/live");
    let dead_url = format!("rtmp://127.0.0.1:{dead}/live");
    stream.config.destinations =
        vec![destination("good", &good_url, Some("hunter2")), destination("dead", &dead_url, Some("hunter2"))];
    let mut worker = Worker::start(&stream);
    let device = Device::start(&stream);
    let feeding = device.feed(&media(120), 1.5);

    // Nobody listens yet: both fail, wait and try again, and say why without the key.
    let stats = worker.wait_stats("a failure", |stats| stats.destinations.iter().all(|one| one.failures > 0));
    for destination in &stats.destinations {
        let error = destination.last_error.as_deref().unwrap();
        assert!(!error.is_empty() && !error.contains("hunter2"), "{error}");
    }
    let server = Server::start(good, &recording);
    let connected = worker.wait_stats("the server", |stats| {
        state_of(stats, "good") == Some(DestinationState::Connected) && stats.destinations[0].sent_bytes > 200_000
    });
    assert_ne!(state_of(&connected, "dead"), Some(DestinationState::Connected));
    wait_for("pictures and sound", || {
        let seconds = |kind| {
            let times = packet_times(&recording, kind);
            times.last().unwrap_or(&0.0) - times.first().unwrap_or(&0.0)
        };
        (seconds("v") > 3.0 && seconds("a") > 3.0).then_some(())
    });
    assert_continuous(&recording);

    // The dead one leaves; the good one is not disturbed.
    let failures = connected.destinations[0].failures;
    let destinations = vec![destination("good", &good_url, Some("hunter2"))];
    worker.send(&WorkerCommand::UpdateForward { destinations });
    let after = worker.wait_stats("one destination", |stats| stats.destinations.len() == 1);
    assert_eq!(state_of(&after, "good"), Some(DestinationState::Connected));
    let later =
        worker.wait_stats("more bytes", |stats| stats.destinations[0].sent_bytes > after.destinations[0].sent_bytes);
    assert_eq!(later.destinations[0].failures, failures);
    assert_eq!((later.video_gaps, later.continuity_errors), (0, 0));

    // The server dies: the worker says so and comes back to a new one.
    drop(server);
    worker.wait_stats("the failure", |stats| stats.destinations[0].failures > failures);
    let again = stream.folder.path().join("again.ts");
    let _server = Server::start(good, &again);
    worker.wait_stats("the new server", |stats| state_of(stats, "good") == Some(DestinationState::Connected));
    wait_for("pictures again", || (packet_times(&again, "v").len() > 25).then_some(()));
    feeding.abort();
    worker.stop();
    assert!(!worker.log().contains("hunter2"));
}

fn assert_continuous(recording: &Path) {
    let times = packet_times(recording, "v");
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 0.1, "{longest} s between two pictures");
}

#[test]
fn a_destination_that_cannot_work_is_told() {
    let mut stream = Stream::new();
    stream.config.destinations = vec![destination("odd", "http://127.0.0.1/live", Some("hunter2"))];
    let mut worker = Worker::start(&stream);
    let stats = worker.wait_stats("the error", |stats| stats.destinations[0].last_error.is_some());
    let destination = &stats.destinations[0];
    assert!(destination.last_error.as_deref().unwrap().contains("http://127.0.0.1/live"));
    assert_eq!((destination.state, destination.retry_in_ms), (DestinationState::Waiting, None));
    worker.stop();
}
