//! The transport stream's scanner, segmenter and gate: any bytes in any chunks.

use strata_media::{KeyFrameGate, Scanner, Segment, Segmenter, SegmenterConfig};

/// A transport stream packet.
const PACKET: usize = 188;
/// The limit given to the segmenter.
const MAX_BYTES: usize = 64 << 10;
/// A segment's tables, and the ends of sound frames that it waits for.
const SLACK: usize = 500 * PACKET;
/// A picture whose kind is not known yet is held for as long.
const HELD: usize = 513 * PACKET;
/// Longest target duration: the segmenter's longest segment, in whole seconds.
const MAX_TARGET_S: u32 = 10;

/// The first byte chooses the chunks, the rest is the stream.
///
/// # Panics
/// When a promise of the scanner or the segmenter is broken.
pub fn run(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    let chunk = 1 + usize::from(first) * 11;
    let segments = segments(stream.chunks(chunk), first & 1 == 1);
    assert_eq!(
        segments,
        self::segments(std::iter::once(stream), first & 1 == 1),
        "chunks of {chunk} change the segments"
    );
    scan(stream, chunk);
}

fn segments<'a>(chunks: impl Iterator<Item = &'a [u8]>, two_sessions: bool) -> Vec<Segment> {
    let config = SegmenterConfig { max_bytes: MAX_BYTES, ..SegmenterConfig::default() };
    let mut segmenter = Segmenter::new(config);
    let mut segments = Vec::new();
    for chunk in chunks {
        segmenter.push(chunk, 0);
        segments.extend(std::iter::from_fn(|| segmenter.poll_segment()));
    }
    if two_sessions {
        segmenter.new_session();
    }
    segmenter.finish();
    segments.extend(std::iter::from_fn(|| segmenter.poll_segment()));
    for segment in &segments {
        assert_eq!(segment.data.len() % PACKET, 0);
        assert!(segment.data.len() <= MAX_BYTES + SLACK, "a segment of {} bytes", segment.data.len());
    }
    assert_eq!(segmenter.stats().segments, segments.len() as u64);
    if let Some(target) = segmenter.target_duration_s() {
        assert!(target <= MAX_TARGET_S, "a target duration of {target} s");
        let longest = segments.iter().map(|segment| segment.duration.as_secs_f64()).fold(0.0, f64::max);
        assert!(longest.round() <= f64::from(target), "a segment of {longest} s, the target duration is {target} s");
    }
    segments
}

/// Whole packets come out as they went in, in order, and little is held back.
fn scan(stream: &[u8], chunk: usize) {
    let (mut scanner, mut gate, mut through) = (Scanner::default(), KeyFrameGate::default(), Vec::new());
    let mut out = Vec::new();
    for (number, chunk) in stream.chunks(chunk).enumerate() {
        scanner.push(chunk, |scanned, _| out.extend_from_slice(scanned.packet.bytes()));
        gate.push(chunk, &mut through);
        if number % 64 == 63 {
            gate.shut();
        }
    }
    let skipped = usize::try_from(scanner.stats().skipped_bytes).unwrap_or(usize::MAX);
    assert!(out.len() + skipped <= stream.len());
    assert!(stream.len() - out.len() - skipped <= HELD + 3 * PACKET, "too much is held back");
    let mut rest = stream;
    for packet in out.chunks(PACKET) {
        let at = rest.windows(PACKET).position(|window| window == packet);
        rest = &rest[at.expect("a packet of the input, in its order") + PACKET..];
    }
    assert_eq!(through.len() % PACKET, 0);
}
