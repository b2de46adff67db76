//! Key frames are protected more than the rest of the stream, where there is room.

#![allow(clippy::print_stdout, reason = "figures are printed")]

use std::time::Duration;

use bytes::Bytes;
use strata_sim::{MS, Net, Sim};

/// Datagrams from one key frame to the next, and of a key frame.
const GROUP: u32 = 190;
const KEY: u32 = 20;

/// Seven packets of a transport stream with one video program; of each group the first datagrams are a key frame.
fn datagram(number: u32) -> Bytes {
    let mut bytes = Vec::new();
    for packet in 0..7 {
        let start = packet == 0 && number.is_multiple_of(KEY / 2);
        let key = number % GROUP < KEY;
        let flags = if start && key { 0x40 } else { 0 };
        bytes.extend([0x47, if start { 0x41 } else { 0x01 }, 0x00, 0x30, 1, flags]);
        bytes.extend(if start { [0, 0, 1, 0xe0] } else { [0xff; 4] });
        bytes.extend(number.to_be_bytes());
        bytes.resize((packet + 1) * 188, 0xff);
    }
    bytes.into()
}

/// Sends a stream; returns how many datagrams of key frames and of the rest were sent and lost.
fn lost(seed: u64, latency_ms: u32, nets: &[Net]) -> [(u64, u64); 2] {
    let mut sim = Sim::new(seed, latency_ms, nets);
    sim.run_for(MS * 1000);
    for number in 0..11_400 {
        sim.push_payload(datagram(number));
        sim.run_for(Duration::from_micros(2632));
    }
    sim.finish();
    sim.assert_payloads();
    let arrived: std::collections::HashSet<u64> = sim.released.iter().map(|(_, release)| release.sequence).collect();
    let mut counts = [(0, 0); 2];
    for number in 0..11_400 {
        let (sent, lost) = &mut counts[usize::from(number % GROUP >= KEY)];
        *sent += 1;
        *lost += u64::from(!arrived.contains(&u64::from(number)));
    }
    counts
}

#[test]
fn where_there_is_time_for_one_repeat_only_key_frames_lose_a_tenth_of_what_the_rest_loses() {
    let nets = [Net::new(5000, 60, 0.05), Net::new(5000, 70, 0.05)];
    let mut sums = [(0, 0); 2];
    for seed in 0..6 {
        for (sum, counted) in sums.iter_mut().zip(lost(seed, 200, &nets)) {
            *sum = (sum.0 + counted.0, sum.1 + counted.1);
        }
    }
    let [key, rest] = sums.map(|(sent, lost)| lost as f64 * 100.0 / sent as f64);
    println!("key frames {key:.4} % lost, the rest {rest:.4} %");
    assert!(rest > 0.05 && key < rest / 10.0, "{sums:?}");
}
