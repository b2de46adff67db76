//! The worker as a process: what a player gets over HLS, whatever happens.

#![allow(clippy::unwrap_used, reason = "test code")]

mod support;

use std::process::Command;

use strata_control::EndReason;
use strata_worker_protocol::WorkerEvent;
use support::{Device, Stream, Worker, media, packet_times, wait_for};

/// The longest step between two packets.
fn longest_step(times: &[f64]) -> f64 {
    times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max)
}

#[test]
fn the_playlist_plays_with_picture_and_sound_and_nothing_missing() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let device = Device::start(&stream);
    let media = media(14);
    let sent = device.feed_all(&media, 3.0);
    let stats = worker.wait_stats("all of it", |stats| stats.receiver.delivered == sent);
    assert!(stats.input_age_ms.is_some() && stats.receiver.delivered > 0 && !stats.links.is_empty());
    worker.stop();
    let stats = (stats.receiver.lost, stats.video_gaps, stats.continuity_errors);
    assert_eq!(stats, (0, 0, 0));

    let playlist = stream.playlist().unwrap();
    assert!(playlist.end_list && playlist.independent_segments);
    assert_eq!((playlist.media_sequence, playlist.target_duration), (0, 2));
    for segment in &playlist.segments {
        assert!(segment.duration.round() <= 2.0 && segment.program_date_time.is_some() && !segment.discontinuity);
        assert!(stream.hls().join(&segment.uri).exists());
    }
    let original = stream.folder.path().join("original.ts");
    std::fs::write(&original, &media).unwrap();
    let times = packet_times(&stream.playlist_path(), "v");
    assert_eq!(times.len(), packet_times(&original, "v").len());
    assert!(longest_step(&times) < 0.05, "{times:?}");
    let sound = packet_times(&stream.playlist_path(), "a");
    assert!(longest_step(&sound) < 0.05 && sound.last().unwrap() - sound[0] > 13.0);
    // Whatever player: ffmpeg decodes all of it without a complaint.
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(stream.playlist_path())
        .args(["-f", "null", "-"])
        .output()
        .unwrap();
    assert!(decoded.status.success() && decoded.stderr.is_empty(), "{}", String::from_utf8_lossy(&decoded.stderr));
    // Each segment plays by itself.
    for segment in &playlist.segments {
        assert!(packet_times(&stream.hls().join(&segment.uri), "v").len() >= 25);
    }
    assert!(!stream.config.socket.exists());
    let hidden = std::fs::read_dir(stream.hls())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".tmp"));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn the_media_sequence_goes_on_after_kill_9() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let device = Device::start(&stream);
    let feeding = device.feed(&media(120), 3.0);
    worker.wait_stats("segments", |stats| stats.hls_media_sequence >= Some(13));
    let mut last = stream.playlist().unwrap();
    assert_eq!(last.segments.len(), 10);
    worker.signal(nix::sys::signal::Signal::SIGKILL);
    worker.wait_exit();
    let killed = stream.playlist().unwrap();
    let after_kill = killed.media_sequence + killed.segments.len() as u64;

    let mut worker = Worker::start(&stream);
    worker.wait_stats("more segments", |stats| stats.hls_segments >= 2);
    wait_for("the discontinuity to leave the window", || {
        let playlist = stream.playlist()?;
        assert!(playlist.media_sequence >= last.media_sequence);
        let at = playlist.segments.iter().position(|segment| segment.discontinuity);
        if let Some(index) = at {
            assert_eq!(playlist.media_sequence + index as u64, after_kill, "the first one after the restart");
            assert_eq!(playlist.discontinuity_sequence, 0);
        }
        assert_eq!(playlist.target_duration, last.target_duration);
        last = playlist;
        (last.discontinuity_sequence == 1).then_some(())
    });
    assert!(last.segments.iter().all(|segment| !segment.discontinuity));
    for segment in &last.segments {
        assert!(stream.hls().join(&segment.uri).exists());
    }
    // What left the playlist long ago is gone; what left it just now is still there.
    assert!(!stream.hls().join("segment-00000000.ts").exists());
    assert!(stream.hls().join(format!("segment-{:08}.ts", last.media_sequence - 3)).exists());
    feeding.abort();
    worker.stop();
}

#[test]
fn a_sender_that_starts_anew_is_a_discontinuity_in_the_same_playlist() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let media = media(6);
    for round in 1..=2 {
        let device = Device::start(&stream);
        let sent = device.feed_all(&media, 2.0);
        worker.wait_stats("all of it", |stats| stats.receiver.delivered == round * sent);
        device.close();
    }
    worker.stop();
    let playlist = stream.playlist().unwrap();
    assert_eq!(playlist.segments.iter().filter(|segment| segment.discontinuity).count(), 1);
    assert_eq!(packet_times(&stream.playlist_path(), "v").len(), 2 * 150);
}

#[test]
fn a_full_disk_is_told_and_hls_goes_on_when_there_is_room() {
    let mut stream = Stream::new();
    let disk = stream.folder.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mounted = nix::unistd::geteuid().is_root()
        && Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).status().unwrap().success();
    if !mounted {
        println!("skipped: mounting a small tmpfs needs root and the right to mount");
        return;
    }
    let _unmount = Unmount(disk.clone());
    stream.config.hls_folder = disk.join("stream");
    let ballast = disk.join("ballast");
    let mut worker = Worker::start(&stream);
    let device = Device::start(&stream);
    let feeding = device.feed(&media(120), 2.0);
    worker.wait_stats("a segment", |stats| stats.hls_segments >= 2);
    // Fill what is left.
    let filled =
        Command::new("dd").arg("if=/dev/zero").arg(format!("of={}", ballast.display())).args(["bs=4096"]).output();
    assert!(!filled.unwrap().status.success());

    let full =
        |event: &WorkerEvent| matches!(event, WorkerEvent::Error { reason: EndReason::DiskFull, fatal: false, .. });
    let WorkerEvent::Error { message, .. } = worker.wait_event("disk full", full) else { unreachable!() };
    assert!(
        message.contains("segment-") && message.contains("bytes") && message.contains("free some space"),
        "{message}"
    );
    let stuck = stream.playlist().unwrap();
    for segment in &stuck.segments {
        assert!(packet_times(&stream.hls().join(&segment.uri), "v").len() >= 25, "what was there is whole");
    }
    assert!(worker.child.try_wait().unwrap().is_none(), "the worker goes on");

    std::fs::remove_file(&ballast).unwrap();
    let before = stuck.media_sequence + stuck.segments.len() as u64;
    worker.wait_stats("HLS to go on", |stats| stats.hls_media_sequence >= Some(before + 3));
    let playlist = stream.playlist().unwrap();
    for segment in &playlist.segments {
        assert!(packet_times(&stream.hls().join(&segment.uri), "v").len() >= 25);
    }
    feeding.abort();
    worker.stop();
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: the worker may still be ending when a test fails.
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn an_input_that_ends_for_a_while_leaves_a_playlist_that_goes_on() {
    let stream = Stream::new();
    let mut worker = Worker::start(&stream);
    let media = media(12);
    let half = media.len() / 188 / 2 * 188;
    let device = Device::start(&stream);
    let first = device.feed_all(&media[..half], 3.0);
    worker.wait_stats("a pause", |stats| stats.input_age_ms.is_some_and(|age| age > 1_500));
    let second = device.feed_all(&media[half..], 3.0);
    worker.wait_stats("the rest", |stats| stats.receiver.delivered == first + second);
    worker.stop();
    assert_eq!(packet_times(&stream.playlist_path(), "v").len(), 300);
    assert!(stream.playlist().unwrap().segments.iter().all(|segment| !segment.discontinuity));
}
