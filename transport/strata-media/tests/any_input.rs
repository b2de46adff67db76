//! Whatever comes in: no panic, the same result for any chunking, bounded memory.

mod support;

use proptest::prelude::*;
use strata_media::{KeyFrameGate, Segment, Segmenter, SegmenterConfig};
use support::Mux;

fn config() -> SegmenterConfig {
    SegmenterConfig { max_bytes: 1 << 20, ..SegmenterConfig::default() }
}

fn run<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Segment> {
    let mut segmenter = Segmenter::new(config());
    let mut segments = Vec::new();
    for chunk in chunks {
        segmenter.push(chunk, 0);
        segments.extend(std::iter::from_fn(|| segmenter.poll_segment()));
    }
    segmenter.finish();
    segments.extend(std::iter::from_fn(|| segmenter.poll_segment()));
    segments
}

/// A stream with some of its bytes changed, removed or made up.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..400), 0..30);
    (damage, any::<bool>(), 1u64..40).prop_map(|(damage, flags, gop)| {
        let mut mux = Mux::new(flags);
        mux.stream(1 << 32, 120, gop);
        for (index, byte, cut) in damage {
            let at = index.index(mux.bytes.len());
            mux.bytes[at] = byte;
            if byte % 4 == 0 {
                let end = (at + cut).min(mux.bytes.len() - 1);
                mux.bytes.drain(at..end);
            }
        }
        mux.bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..5_000)) {
        run(data.chunks(1_316));
        KeyFrameGate::default().push(&data, &mut Vec::new());
    }

    #[test]
    fn packets_of_garbage_never_panic(
        payloads in prop::collection::vec((prop::collection::vec(any::<u8>(), 187), 0u16..4), 0..80)
    ) {
        let mut mux = Mux::new(true);
        mux.stream(0, 30, 10);
        for (payload, pid) in payloads {
            let mut packet = vec![0x47];
            packet.extend(payload);
            // Mostly the PIDs that are looked into.
            match pid {
                0 => { packet[1] &= 0xe0; packet[2] = 0; }
                1 => { packet[1] = packet[1] & 0xe0 | 0x10; packet[2] = 0; }
                2 => { packet[1] = packet[1] & 0xe0 | 0x01; packet[2] &= 1; }
                _ => {}
            }
            mux.bytes.extend(packet);
        }
        for segment in run(mux.bytes.chunks(1_316)) {
            prop_assert_eq!(segment.data.len() % 188, 0);
        }
    }

    #[test]
    fn any_chunking_gives_the_same_segments(data in damaged(), sizes in prop::collection::vec(1usize..3_000, 1..60)) {
        let whole = run(std::iter::once(data.as_slice()));
        let mut rest = data.as_slice();
        let mut sizes = sizes.iter().cycle();
        let chunks = std::iter::from_fn(|| {
            let size = (*sizes.next()?).min(rest.len());
            let (head, tail) = rest.split_at(size);
            rest = tail;
            (!head.is_empty()).then_some(head)
        });
        prop_assert_eq!(run(chunks), whole);
    }
}

#[test]
fn a_stream_without_end_of_segment_stays_within_the_limit() {
    let mut mux = Mux::new(true);
    mux.tables(0x1b, 0);
    mux.video(0, true);
    let mut segmenter = Segmenter::new(config());
    segmenter.push(&mux.bytes, 0);
    // The same picture for ever: the time stands still.
    let mut packet = [0xaau8; 188];
    packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10]);
    for _ in 0..20_000 {
        segmenter.push(&packet, 0);
        if let Some(segment) = segmenter.poll_segment() {
            assert!(segment.data.len() <= (1 << 20) + 188);
            return;
        }
    }
    panic!("3.7 MB went into a segment of at most 1 MiB");
}
