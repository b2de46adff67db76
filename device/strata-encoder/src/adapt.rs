//! How the video bitrate follows what the links can sustain: fast down, slow up.
//!
//! Owns the decision only, as a pure state machine: time and samples come in,
//! a bitrate comes out. Does not own the estimate (the transport's) nor the
//! encoder's property.

use std::collections::VecDeque;
use std::time::Duration;

use strata_control::BitrateBounds;

/// Below this no picture is worth sending; also what every encoder still takes.
const LEAST_BPS: u32 = 100_000;
/// Video's share of what audio leaves: 4 % MPEG-TS and PES headers, 3 % for an encoder that overshoots.
const VIDEO_SHARE: f64 = 0.93;
/// A small audio frame fills its last TS packet with stuffing.
const AUDIO_OVERHEAD: f64 = 1.15;
/// Changes smaller than this part of the bitrate are not worth a step.
const DEAD_BAND: f64 = 0.03;
/// A step up wants this much time of samples that all allow it.
const RISE_AFTER: Duration = Duration::from_secs(3);
/// Time between two steps up.
const RISE_EVERY: Duration = Duration::from_secs(1);
/// Largest step up, as a factor.
const RISE_FACTOR: f64 = 1.08;
/// The same far below what the links carried before: there is little to overshoot, and a poor picture to end.
const RECOVERY_FACTOR: f64 = 1.3;

/// Decides the video bitrate.
#[derive(Debug)]
pub(crate) struct Adaptation {
    bounds: BitrateBounds,
    audio_bps: u32,
    current_bps: u32,
    /// The highest bitrate so far.
    peak_bps: u32,
    /// What samples of the last [`RISE_AFTER`] would allow, oldest first.
    allowed: VecDeque<(Duration, u32)>,
    last_change: Option<Duration>,
}

impl Adaptation {
    /// Starts at the target.
    pub(crate) fn new(bounds: BitrateBounds, audio_bps: u32) -> Self {
        let current_bps = bounds.target_bps;
        Self { bounds, audio_bps, current_bps, peak_bps: current_bps, allowed: VecDeque::new(), last_change: None }
    }

    /// The bitrate set now.
    pub(crate) fn current_bps(&self) -> u32 {
        self.current_bps
    }

    /// Takes new bounds; the bitrate follows at once where it would be above the ceiling, or was at the old target.
    pub(crate) fn set_bounds(&mut self, bounds: BitrateBounds) -> u32 {
        let untouched = self.last_change.is_none() && self.current_bps == self.bounds.target_bps;
        self.current_bps = if untouched { bounds.target_bps } else { self.current_bps.min(bounds.ceiling_bps) };
        self.bounds = bounds;
        self.allowed.clear();
        self.current_bps
    }

    /// Takes one sample of what the links can sustain, in bit/s of payload; 0 means that it is not known.
    /// Gives the new bitrate when it changes.
    pub(crate) fn sample(&mut self, now: Duration, sustainable_bps: u64) -> Option<u32> {
        if sustainable_bps == 0 {
            self.allowed.clear();
            return None;
        }
        let before = self.allowed.back().map(|&(_, bps)| bps);
        let allowed = self.video_part(sustainable_bps);
        self.allowed.push_back((now, allowed));
        while self.allowed.get(1).is_some_and(|&(at, _)| now.saturating_sub(at) >= RISE_AFTER) {
            self.allowed.pop_front();
        }
        let next = self.next_bps(now, before?, allowed)?;
        self.current_bps = next;
        self.peak_bps = self.peak_bps.max(next);
        self.last_change = Some(now);
        Some(next)
    }

    /// The two newest samples must agree on any step; a step up wants all of the window.
    fn next_bps(&self, now: Duration, before: u32, allowed: u32) -> Option<u32> {
        let current = f64::from(self.current_bps);
        let falls_to = before.max(allowed);
        if f64::from(falls_to) < current * (1.0 - DEAD_BAND)
            || falls_to < self.bounds.floor_bps && falls_to < self.current_bps
        {
            return Some(falls_to);
        }
        let agreed = before.min(allowed);
        if self.current_bps < self.bounds.floor_bps && agreed > self.current_bps {
            // The floor had to yield; back to it as soon as the links allow.
            return Some(agreed.min(self.bounds.floor_bps));
        }
        self.rise(now)
    }

    fn rise(&self, now: Duration) -> Option<u32> {
        let (oldest, _) = *self.allowed.front()?;
        let lowest = self.allowed.iter().map(|&(_, bps)| bps).min()?;
        let rested = self.last_change.is_none_or(|at| now.saturating_sub(at) >= RISE_EVERY);
        let worth_it = f64::from(lowest) > f64::from(self.current_bps) * (1.0 + DEAD_BAND)
            || lowest == self.bounds.ceiling_bps && lowest > self.current_bps;
        if !rested || !worth_it || now.saturating_sub(oldest) < RISE_AFTER {
            return None;
        }
        let factor = if self.current_bps < self.peak_bps / 2 { RECOVERY_FACTOR } else { RISE_FACTOR };
        Some(lowest.min((f64::from(self.current_bps) * factor) as u32))
    }

    /// What is left for the video after audio and headers, within the ceiling; the floor yields.
    fn video_part(&self, sustainable_bps: u64) -> u32 {
        let audio = f64::from(self.audio_bps) * AUDIO_OVERHEAD;
        let video = (sustainable_bps as f64 - audio) * VIDEO_SHARE;
        (video.clamp(0.0, f64::from(u32::MAX)) as u32).clamp(LEAST_BPS, self.bounds.ceiling_bps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: BitrateBounds = BitrateBounds { floor_bps: 500_000, target_bps: 3_000_000, ceiling_bps: 6_000_000 };
    const AUDIO: u32 = 128_000;

    /// Feeds samples every 200 ms: (how many, sustainable). Gives each change with the sample's number.
    fn run(adaptation: &mut Adaptation, phases: &[(u32, u64)]) -> Vec<(u32, u32)> {
        let mut changes = vec![];
        let mut number = 0;
        for &(count, sustainable) in phases {
            for _ in 0..count {
                let now = Duration::from_millis(200) * number;
                changes.extend(adaptation.sample(now, sustainable).map(|bps| (number, bps)));
                number += 1;
            }
        }
        changes
    }

    #[test]
    fn tables() {
        let share = |sustainable: f64| ((sustainable - 128_000.0 * 1.15) * 0.93) as u32;
        // name, phases, (at which sample, first change), last bitrate
        type Row = (&'static str, &'static [(u32, u64)], Option<(u32, u32)>, u32);
        let rows: &[Row] = &[
            ("nothing known: stay at the target", &[(50, 0)], None, 3_000_000),
            ("enough for the target and little more: stay", &[(50, 3_400_000)], None, 3_000_000),
            ("one low sample: no step", &[(10, 3_400_000), (1, 500_000), (20, 3_400_000)], None, 3_000_000),
            ("one high sample: no step", &[(10, 3_400_000), (1, 50_000_000), (20, 3_400_000)], None, 3_000_000),
            (
                "a fall is followed with the second sample",
                &[(10, 3_400_000), (5, 2_000_000)],
                Some((11, share(2e6))),
                share(2e6),
            ),
            ("the first two samples may fall", &[(5, 1_000_000)], Some((1, share(1e6))), share(1e6)),
            ("the floor yields", &[(10, 3_400_000), (5, 400_000)], Some((11, share(4e5))), share(4e5)),
            ("below everything: the least", &[(10, 3_400_000), (5, 50_000)], Some((11, 100_000)), 100_000),
            ("a rise waits three seconds", &[(30, 20_000_000)], Some((15, 3_240_000)), 3_779_136),
            ("the ceiling holds", &[(200, 900_000_000)], Some((15, 3_240_000)), 6_000_000),
        ];
        for (name, phases, first, last) in rows {
            let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
            let changes = run(&mut adaptation, phases);
            assert_eq!(changes.first().copied(), *first, "{name}: {changes:?}");
            assert_eq!(adaptation.current_bps(), *last, "{name}: {changes:?}");
        }
    }

    #[test]
    fn audio_and_headers_come_off_the_capacity() {
        for sustainable in [400_000_u64, 1_000_000, 3_000_000] {
            let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
            run(&mut adaptation, &[(5, sustainable)]);
            let wire = f64::from(adaptation.current_bps()) * 1.04 + f64::from(AUDIO) * 1.15;
            assert!(wire <= sustainable as f64, "{wire} on {sustainable}");
            assert!(wire >= 0.9 * sustainable as f64, "{wire} wastes {sustainable}");
        }
    }

    #[test]
    fn back_to_the_floor_at_once_and_slowly_from_there() {
        let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
        let changes = run(&mut adaptation, &[(5, 400_000), (25, 8_000_000)]);
        assert_eq!(changes[1], (6, 500_000), "{changes:?}");
        assert!(changes[2..].windows(2).all(|pair| pair[1].0 - pair[0].0 >= 5), "once a second: {changes:?}");
        assert!(adaptation.current_bps() < 1_500_000);
    }

    #[test]
    fn a_collapse_is_made_good_fast_at_first_and_slowly_near_the_old_level() {
        let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
        let changes = run(&mut adaptation, &[(20, 3_400_000), (5, 100_000), (200, 3_600_000)]);
        let when = |level: u32| changes.iter().skip(1).find(|&&(_, bps)| bps >= level).unwrap().0 - 25;
        assert!(when(500_000) <= 1, "{changes:?}");
        assert!((15..=45).contains(&when(1_500_000)), "{changes:?}");
        assert!(when(2_700_000) - when(1_500_000) >= 20, "{changes:?}");
    }

    #[test]
    fn an_estimate_that_swings_is_followed_down_and_not_up() {
        let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
        let swing: Vec<_> = (0..20).flat_map(|_| [(5, 1_500_000_u64), (5, 2_700_000)]).collect();
        let changes = run(&mut adaptation, &swing);
        assert_eq!(changes.len(), 1, "{changes:?}");
    }

    #[test]
    fn new_bounds_hold_at_once() {
        let mut adaptation = Adaptation::new(BOUNDS, AUDIO);
        let lower = BitrateBounds { floor_bps: 200_000, target_bps: 1_000_000, ceiling_bps: 2_000_000 };
        assert_eq!(adaptation.set_bounds(lower), 1_000_000);
        run(&mut adaptation, &[(100, 50_000_000)]);
        assert_eq!(adaptation.current_bps(), 2_000_000);
        let lowest = BitrateBounds { floor_bps: 200_000, target_bps: 500_000, ceiling_bps: 800_000 };
        assert_eq!(adaptation.set_bounds(lowest), 800_000);
    }
}
