//! What the segments of a stream are, for streams with known key frames and timestamps.

mod support;

use std::time::Duration;

use strata_media::{KeyFrameGate, Segment, Segmenter, SegmenterConfig};
use support::{AUDIO_PID, Mux, VIDEO_PID, assert_continuity};

fn drain(segmenter: &mut Segmenter) -> Vec<Segment> {
    std::iter::from_fn(|| segmenter.poll_segment()).collect()
}

fn segments(bytes: &[u8]) -> Vec<Segment> {
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(bytes, 0);
    segmenter.finish();
    drain(&mut segmenter)
}

fn durations_ms(segments: &[Segment]) -> Vec<u128> {
    segments.iter().map(|segment| segment.duration.as_millis()).collect()
}

#[test]
fn the_first_segments_are_short_and_all_begin_with_tables_and_a_key_frame() {
    for flags in [true, false] {
        let mut mux = Mux::new(flags);
        mux.stream(900_000, 25 * 10, 25);
        let segments = segments(&mux.bytes);
        assert_eq!(durations_ms(&segments), [1_000, 1_000, 1_000, 2_000, 2_000, 2_000, 1_000], "flags {flags}");
        for segment in &segments {
            assert_eq!((segment.data[1] & 0x1f, segment.data[2]), (0, 0), "PAT first");
            assert_eq!(segment.data[189] & 0x1f, 0x10, "then PMT");
            assert_eq!(segment.data[2 * 188 + 1] & 0x5f, 0x41, "then a picture");
            assert!(segment.is_independent && !segment.discontinuity);
        }
        assert_eq!(segments.iter().map(|segment| segment.video_units).sum::<u32>(), 250);
        assert_continuity(&segments.iter().map(|segment| segment.data.as_slice()).collect::<Vec<_>>());
    }
}

#[test]
fn nothing_is_lost_between_segments() {
    let mut mux = Mux::new(true);
    mux.stream(0, 25 * 6, 25);
    let is_media = |packet: &&[u8]| {
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        pid == VIDEO_PID || pid == AUDIO_PID
    };
    let segments = segments(&mux.bytes);
    let input: Vec<&[u8]> = mux.bytes.chunks(188).filter(is_media).collect();
    let output: Vec<&[u8]> = segments.iter().flat_map(|segment| segment.data.chunks(188)).filter(is_media).collect();
    assert!(input == output);
}

#[test]
fn the_end_of_a_sound_frame_stays_with_its_beginning() {
    let mut mux = Mux::new(true);
    mux.tables(0x1b, 0x0f);
    mux.video(0, true);
    let mut sound = mux.pes(AUDIO_PID, 80_000, &[0x44; 900], true);
    let rest = sound.split_off(1);
    mux.bytes.extend(sound.concat());
    mux.video(90_000, true);
    mux.bytes.extend(rest.concat());
    mux.video(93_600, false);
    let segments = segments(&mux.bytes);
    assert_eq!(segments.len(), 2);
    let sound_packets = |segment: &Segment| segment.data.chunks(188).filter(|packet| packet[2] == 0x01).count();
    assert_eq!((sound_packets(&segments[0]), sound_packets(&segments[1])), (1 + rest.len(), 0));
}

#[test]
fn durations_never_round_above_the_target_duration() {
    // Pictures, key frames apart by: just below a second, 1.4 s, 4 s, 10 s and more.
    for gop in [1, 3, 12, 24, 35, 50, 100, 250, 400] {
        let mut segmenter = Segmenter::new(SegmenterConfig::default());
        let mut mux = Mux::new(true);
        mux.stream(0, 1_000, gop);
        segmenter.push(&mux.bytes, 0);
        segmenter.finish();
        let target = u64::from(segmenter.target_duration_s().unwrap());
        let segments = drain(&mut segmenter);
        let total: Duration = segments.iter().map(|segment| segment.duration).sum();
        assert_eq!(total, Duration::from_secs(40), "gop {gop}");
        for segment in segments {
            let rounded = segment.duration.as_secs_f64().round() as u64;
            assert!(rounded <= target, "gop {gop}: {:?} with target {target}", segment.duration);
        }
    }
}

#[test]
fn a_first_segment_that_ends_at_once_does_not_fix_a_long_target_duration() {
    let mut mux = Mux::new(true);
    mux.tables(0x1b, 0x0f);
    mux.video(0, true);
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(&mux.bytes, 0);
    segmenter.new_session();
    assert!(drain(&mut segmenter)[0].duration < Duration::from_millis(50));
    assert_eq!(segmenter.target_duration_s(), Some(2));
}

#[test]
fn a_long_wait_for_a_key_frame_is_cut_without_one_and_says_so() {
    let config = SegmenterConfig { target_duration_s: Some(2), ..SegmenterConfig::default() };
    let mut segmenter = Segmenter::new(config);
    let mut mux = Mux::new(true);
    mux.stream(0, 25 * 8, 25 * 8);
    segmenter.push(&mux.bytes, 0);
    let segments = drain(&mut segmenter);
    assert!(segments.len() >= 3);
    assert!(segments[0].is_independent);
    assert!(segments[1..].iter().all(|segment| !segment.is_independent));
}

#[test]
fn timestamps_may_wrap() {
    let mut mux = Mux::new(true);
    mux.stream((1 << 33) - 3 * 90_000, 25 * 6, 25);
    let segments = segments(&mux.bytes);
    assert_eq!(durations_ms(&segments), [1_000, 1_000, 1_000, 2_000, 1_000]);
    assert!(segments.iter().all(|segment| !segment.discontinuity));
}

#[test]
fn a_jump_or_a_new_session_is_a_discontinuity_and_ends_a_segment_in_full() {
    let mut mux = Mux::new(true);
    mux.stream(0, 40, 25);
    mux.stream(50_000_000, 40, 25);
    let jumped = segments(&mux.bytes);
    assert_eq!(durations_ms(&jumped), [1_000, 600, 1_000, 600]);
    assert_eq!(jumped.iter().map(|segment| segment.discontinuity).collect::<Vec<_>>(), [false, false, true, false]);

    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    let mut mux = Mux::new(true);
    mux.stream(0, 40, 25);
    segmenter.push(&mux.bytes, 0);
    segmenter.new_session();
    // The same timestamps once more: only the session tells.
    segmenter.push(&mux.bytes, 1);
    segmenter.finish();
    let again = drain(&mut segmenter);
    assert_eq!(durations_ms(&again), [1_000, 600, 1_000, 600]);
    assert_eq!(again.iter().map(|segment| segment.stamp).collect::<Vec<_>>(), [0, 0, 1, 1]);
    assert!(again[2].discontinuity);
    assert_eq!(segmenter.stats().video_gaps, 1);
    assert_eq!(segmenter.stats().continuity_errors, 0);
}

#[test]
fn a_short_gap_is_counted_and_no_discontinuity() {
    let mut mux = Mux::new(true);
    mux.stream(0, 30, 25);
    mux.bytes.clear();
    mux.stream(0, 30, 25);
    let start = mux.bytes.len();
    mux.stream(30 * 3_600 + 36_000, 45, 25);
    assert!(start > 0);
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(&mux.bytes, 0);
    segmenter.finish();
    let segments = drain(&mut segmenter);
    assert_eq!(segmenter.stats().video_gaps, 1);
    assert!(segments.iter().all(|segment| !segment.discontinuity));
    assert_eq!(segments.iter().map(|segment| segment.duration).sum::<Duration>(), Duration::from_millis(3_400));
}

#[test]
fn lost_packets_are_counted() {
    let mut mux = Mux::new(true);
    mux.stream(0, 60, 25);
    let lost = 20 * 188;
    mux.bytes.drain(lost..lost + 7 * 188);
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(&mux.bytes, 0);
    assert!(segmenter.stats().continuity_errors >= 1);
}

#[test]
fn sound_alone_is_cut_by_its_own_time() {
    let mut mux = Mux::new(true);
    for frame in 0..400u64 {
        if frame % 20 == 0 {
            mux.tables(0, 0x0f);
        }
        mux.audio(frame * 1_920);
    }
    let segments = segments(&mux.bytes);
    assert!(segments.len() >= 5, "{:?}", durations_ms(&segments));
    assert!(segments.iter().all(|segment| segment.is_independent && segment.duration <= Duration::from_millis(2_490)));
}

#[test]
fn sound_goes_on_while_the_picture_is_missing() {
    let mut mux = Mux::new(true);
    mux.stream(0, 50, 25);
    for frame in 50..300u64 {
        mux.audio(frame * 3_600);
    }
    mux.stream(300 * 3_600, 50, 25);
    let segments = segments(&mux.bytes);
    assert!(segments.iter().all(|segment| !segment.discontinuity));
    assert!(segments.iter().all(|segment| segment.duration <= Duration::from_millis(2_490)));
    let total: Duration = segments.iter().map(|segment| segment.duration).sum();
    assert_eq!(total, Duration::from_secs(14));
}

#[test]
fn other_streams_are_a_discontinuity() {
    let mut mux = Mux::new(true);
    mux.stream(0, 50, 25);
    mux.tables(0x1b, 0x81);
    for frame in 50..100u64 {
        mux.video(frame * 3_600, frame % 25 == 0);
    }
    let segments = segments(&mux.bytes);
    assert_eq!(segments.iter().filter(|segment| segment.discontinuity).count(), 1);
}

#[test]
fn the_gate_opens_at_a_key_frame_with_tables_ahead() {
    let mut mux = Mux::new(false);
    mux.stream(0, 50, 25);
    // Joined in the middle of a picture, 10 pictures in.
    let middle = mux.bytes.len() / 5 / 188 * 188;
    let mut gate = KeyFrameGate::default();
    let mut out = Vec::new();
    for chunk in mux.bytes[middle..].chunks(1_316) {
        gate.push(chunk, &mut out);
    }
    assert!(gate.is_open());
    assert_eq!(out[2 * 188 + 1] & 0x5f, 0x41);
    let mut segmenter = Segmenter::new(SegmenterConfig::default());
    segmenter.push(&out, 0);
    segmenter.finish();
    assert_eq!(drain(&mut segmenter)[0].start.0, 25 * 3_600);
    gate.shut();
    let before = out.len();
    gate.push(&mux.bytes[..188 * 3], &mut out);
    assert_eq!(out.len(), before);
}
