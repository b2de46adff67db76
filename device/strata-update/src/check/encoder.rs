//! The step that is done: the device's own encoder encodes real pictures, which cross a bond on this machine.
//!
//! Owns one try: throw-away keys, an encoder process with a test pattern, a
//! receiver of ours, counting pictures. Nothing of it is left afterwards, and no
//! running stream is touched.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use strata_control::{BitrateBounds, EncoderSettings, FrameRate, ReceiveAddress, Source, StreamId, StreamStart};
use strata_encoder_protocol::{EncoderConfig, EncoderLink};
use strata_identity::KeyPair;
use strata_link::{Receiver, ReceiverConfig};
use strata_media::Scanner;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time;
use uuid::Uuid;

/// What must have come out of the bond.
const PICTURES: u32 = 20;
/// Of those, such that decoding can begin with.
const KEY_FRAMES: u32 = 2;
/// Loopback loses nothing; the smallest that the encoder takes.
const LATENCY: Duration = Duration::from_millis(100);

/// What came out of the bond.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    packets: u32,
    pictures: u32,
    key_frames: u32,
}

impl Counted {
    fn is_enough(self) -> bool {
        self.pictures >= PICTURES && self.key_frames >= KEY_FRAMES
    }
}

/// Makes one try within `limit`; what was seen instead.
pub(super) async fn try_once(program: &Path, folder: &Path, limit: Duration) -> Result<(), String> {
    fresh_folder(folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    let result = run(program, folder, limit).await;
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!("{} cannot be removed: {error}", folder.display());
    }
    result
}

fn fresh_folder(folder: &Path) -> std::io::Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

async fn run(program: &Path, folder: &Path, limit: Duration) -> Result<(), String> {
    let (device, worker) = (KeyPair::generate(), KeyPair::generate());
    let listen = ([127, 0, 0, 1], 0).into();
    let receiver = ReceiverConfig { identity: worker.clone(), allow: device.public(), listen, latency: LATENCY };
    let receiver = Receiver::bind(receiver).await.map_err(|error| format!("the loopback bond: {error}"))?;
    let config = encoder_config(&device, &worker, &receiver, folder)?;
    let mut counted = Counted::default();
    let result = match start(program, &config, folder).await {
        Ok(mut encoder) => {
            let result = time::timeout(limit, watch(&mut encoder, &receiver, folder, &mut counted)).await;
            if let Err(error) = encoder.kill().await {
                tracing::debug!("the check's encoder had ended: {error}");
            }
            result.unwrap_or_else(|_| Err(too_few(counted, limit, folder)))
        }
        Err(error) => Err(error),
    };
    receiver.close().await;
    tracing::debug!(?counted, "the encoder's pictures over the loopback bond");
    result
}

/// Small and cheap, as the processor may have much to do at start; a key frame each second.
fn encoder_config(
    device: &KeyPair,
    worker: &KeyPair,
    receiver: &Receiver,
    folder: &Path,
) -> Result<EncoderConfig, String> {
    let key_file = folder.join("device.key");
    device.write_new(&key_file).map_err(|error| error.to_string())?;
    let settings = EncoderSettings {
        bitrate: BitrateBounds { floor_bps: 100_000, target_bps: 300_000, ceiling_bps: 500_000 },
        width: 320,
        height: 180,
        frame_rate: FrameRate::per_second(10),
        latency_ms: u32::try_from(LATENCY.as_millis()).unwrap_or(u32::MAX),
        ..EncoderSettings::default()
    };
    let remote = receiver.local_addr();
    let start = StreamStart {
        stream_id: StreamId(Uuid::nil()),
        source: Source::TestPattern,
        encoder: settings,
        receive: ReceiveAddress { host: remote.ip().to_string(), ports: vec![remote.port()] },
        worker_key: worker.public(),
        links: vec![],
        record_locally: false,
    };
    Ok(EncoderConfig {
        stream_id: start.stream_id,
        socket: folder.join("encoder.sock"),
        key_file,
        worker_key: worker.public(),
        source: Source::TestPattern,
        settings,
        links: vec![EncoderLink { id: 0, interface: "lo".to_owned(), bind: false, remote }],
        start,
        record_to: None,
        // Longer than any try: it is ended by us.
        orphan_timeout_s: 600,
    })
}

async fn start(program: &Path, config: &EncoderConfig, folder: &Path) -> Result<Child, String> {
    let name = program.display();
    let log = fs::File::create(log_path(folder)).map_err(|error| format!("the encoder's log: {error}"))?;
    let mut line = serde_json::to_vec(config).map_err(|error| format!("the encoder's configuration: {error}"))?;
    line.push(b'\n');
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
    let mut encoder = command.spawn().map_err(|error| format!("{name} cannot be started: {error}"))?;
    if let Some(mut stdin) = encoder.stdin.take()
        // One that ends at once breaks the pipe: its end tells more than this error would.
        && let Err(error) = stdin.write_all(&line).await
    {
        tracing::debug!("the encoder did not read its configuration: {error}");
    }
    Ok(encoder)
}

async fn watch(encoder: &mut Child, receiver: &Receiver, folder: &Path, counted: &mut Counted) -> Result<(), String> {
    let mut scanner = Scanner::default();
    while !counted.is_enough() {
        tokio::select! {
            datagram = receiver.recv() => {
                let Some(datagram) = datagram else { return Err("the loopback bond ended".to_owned()) };
                scanner.push(&datagram.payload, |scanned, _| {
                    counted.packets += 1;
                    if let Some(unit) = scanned.unit.filter(|unit| unit.is_video) {
                        counted.pictures += 1;
                        counted.key_frames += u32::from(unit.is_key);
                    }
                });
            }
            status = encoder.wait() => {
                let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
                return Err(format!("the encoder ended ({status}){}", last_words(folder)));
            }
        }
    }
    Ok(())
}

fn too_few(counted: Counted, limit: Duration, folder: &Path) -> String {
    let Counted { packets, pictures, key_frames } = counted;
    format!(
        "within {} s only {pictures} pictures of {PICTURES} and {key_frames} key frames of {KEY_FRAMES} crossed the bond ({packets} MPEG-TS packets){}",
        limit.as_secs(),
        last_words(folder)
    )
}

fn log_path(folder: &Path) -> std::path::PathBuf {
    folder.join("encoder.log")
}

/// The newest error in the encoder's log, else its newest line; after a colon.
fn last_words(folder: &Path) -> String {
    let log = fs::read(log_path(folder)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines = || log.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines().rfind(|line| line.contains(" ERROR ")).or_else(|| lines().next_back());
    line.map_or_else(String::new, |line| {
        // Without time, level and module.
        let words = line.split_once(": ").filter(|(head, _)| head.contains("strata_")).map_or(line, |(_, words)| words);
        format!(": {}", words.chars().take(300).collect::<String>())
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A stand-in for an encoder that fails.
    fn program(folder: &Path, script: &str) -> std::path::PathBuf {
        let path = folder.join("strata-encoder");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn outcome(script: &str, limit: Duration) -> String {
        let folder = tempfile::tempdir().unwrap();
        let check = folder.path().join("check");
        let error = try_once(&program(folder.path(), script), &check, limit).await.unwrap_err();
        assert!(!check.exists(), "nothing is left");
        error
    }

    #[tokio::test]
    async fn an_encoder_that_fails_is_quoted() {
        let error = outcome(
            "read line; echo '2026-01-01T00:00:00Z ERROR strata_encoder: x264enc is missing: install it' >&2; exit 1",
            Duration::from_secs(20),
        )
        .await;
        assert_eq!(error, "the encoder ended (exit status: 1): x264enc is missing: install it");
        let error = outcome("read line; kill -ABRT $$", Duration::from_secs(20)).await;
        assert!(error.starts_with("the encoder ended (signal: 6"), "{error}");
    }

    #[tokio::test]
    async fn an_encoder_that_gives_nothing_is_ended() {
        let error = outcome("exec sleep 1000", Duration::from_millis(300)).await;
        assert!(error.contains("only 0 pictures of 20 and 0 key frames of 2"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_encoder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Path::new("/nonexistent/strata-encoder");
        let error = try_once(missing, &folder.path().join("check"), Duration::from_secs(1)).await.unwrap_err();
        assert!(error.contains("/nonexistent/strata-encoder cannot be started"), "{error}");
    }
}
