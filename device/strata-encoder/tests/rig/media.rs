//! What ffprobe and ffmpeg say about a received stream, and files for sources.

use std::path::Path;
use std::process::{Command, Output};

use strata_encoder::timecode::Timecode;

/// One packet of a track.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Packet {
    pub pts: f64,
    pub key: bool,
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// `codec_name,width,height,r_frame_rate,sample_rate,channels` lines, those that there are.
pub(crate) fn streams(file: &Path) -> String {
    let entries = "stream=codec_name,width,height,r_frame_rate,sample_rate,channels";
    let file = file.to_str().unwrap();
    let output = run("ffprobe", &["-v", "error", "-show_entries", entries, "-of", "compact=p=0", file]);
    String::from_utf8(output.stdout).unwrap()
}

/// All packets of the first track of a kind (`v` or `a`).
pub(crate) fn packets(file: &Path, kind: &str) -> Vec<Packet> {
    let file = file.to_str().unwrap();
    let entries = "packet=pts_time,flags";
    let track = format!("{kind}:0");
    let arguments = ["-v", "error", "-select_streams", &track, "-show_entries", entries, "-of", "csv=p=0", file];
    let text = String::from_utf8(run("ffprobe", &arguments).stdout).unwrap();
    let packet = |line: &str| {
        let mut fields = line.split(',');
        let pts = fields.next()?.parse().ok()?;
        Some(Packet { pts, key: fields.next()?.contains('K') })
    };
    text.lines().filter_map(packet).collect()
}

/// Asserts that packets follow each other at a constant step, in seconds.
pub(crate) fn assert_even(packets: &[Packet], step: f64, what: &str) {
    assert!(packets.len() > 10, "only {} packets of {what}", packets.len());
    for pair in packets.windows(2) {
        let passed = pair[1].pts - pair[0].pts;
        assert!(
            (passed - step).abs() < 0.002,
            "{what}: {passed} s between {} and {}, not {step}",
            pair[0].pts,
            pair[1].pts
        );
    }
}

/// Every error that decoding the whole file gives.
pub(crate) fn decoding_errors(file: &Path) -> String {
    let arguments = ["-v", "error", "-i", file.to_str().unwrap(), "-f", "null", "-"];
    String::from_utf8(run("ffmpeg", &arguments).stderr).unwrap()
}

/// Luma planes of all frames.
pub(crate) fn luma(file: &Path, width: usize, height: usize) -> Vec<Vec<u8>> {
    let arguments = ["-v", "error", "-i", file.to_str().unwrap(), "-map", "0:v:0", "-vsync", "0", "-pix_fmt", "gray"];
    let output = run("ffmpeg", &[&arguments[..], &["-f", "rawvideo", "-"]].concat());
    output.stdout.chunks_exact(width * height).map(<[u8]>::to_vec).collect()
}

/// The timecode of each frame, where there is one.
pub(crate) fn timecodes(file: &Path, width: usize, height: usize) -> Vec<Option<Timecode>> {
    luma(file, width, height).iter().map(|plane| Timecode::read(plane, width, width)).collect()
}

/// Loudness of each tenth of a second, as the largest sample.
pub(crate) fn loudness(file: &Path) -> Vec<u16> {
    let arguments = ["-v", "error", "-i", file.to_str().unwrap(), "-map", "0:a:0", "-ac", "1", "-ar", "48000"];
    let output = run("ffmpeg", &[&arguments[..], &["-f", "s16le", "-"]].concat());
    let samples: Vec<i16> = output.stdout.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    samples.chunks(4_800).map(|part| part.iter().map(|sample| sample.unsigned_abs()).max().unwrap()).collect()
}

/// Makes a media file of `seconds` with moving picture and tone.
pub(crate) fn make_file(path: &Path, seconds: u32, arguments: &[&str]) {
    let picture = format!("testsrc2=size=320x240:rate=25:duration={seconds}");
    let tone = format!("sine=frequency=500:sample_rate=44100:duration={seconds}");
    let mut all = vec!["-v", "error", "-y", "-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    all.extend(arguments);
    all.push(path.to_str().unwrap());
    run("ffmpeg", &all);
}
