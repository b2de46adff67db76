//! Where a picture or a piece of sound goes on the stream's time line.
//!
//! Owns the rules that keep the output gapless whatever the sources do: video
//! sits on a grid of slots at the frame rate, audio is one unbroken count of
//! samples. A source that is late, early, missing or replaced changes what is
//! shown, never the grid. Times are nanoseconds since the stream began, given
//! by the caller; no clock is read here.

use strata_control::FrameRate;

use crate::tone::SAMPLE_RATE;

const SECOND_NS: u64 = 1_000_000_000;
/// A longer hole is jumped over instead of being filled: the process stood still, and so did the stream.
const LONGEST_FILL_NS: u64 = 5 * SECOND_NS;
/// Sound this far from its place still continues the sound before it: clocks of sources are not exact.
const SOUND_TOLERANCE_SAMPLES: u64 = SAMPLE_RATE / 25;

/// What to do with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum VideoPlace {
    /// Its slot is taken already: drop it.
    Late,
    /// Repeat the frame before it for the slots from `first_repeat` on, then put it into `slot`.
    Slot {
        /// Its place.
        slot: u64,
        /// First empty slot before it; equal to `slot` when there is none.
        first_repeat: u64,
    },
}

/// The grid of video frames.
#[derive(Debug)]
pub(crate) struct VideoTimeline {
    rate: FrameRate,
    next: u64,
    /// Added to a source's times so that its frames meet the grid's middle; at most half a slot.
    phase_ns: i128,
}

impl VideoTimeline {
    pub(crate) fn new(rate: FrameRate) -> Self {
        Self { rate, next: 0, phase_ns: 0 }
    }

    /// When a slot begins.
    pub(crate) fn slot_time(&self, slot: u64) -> u64 {
        let (numerator, denominator) = self.fraction();
        let time = u128::from(slot) * u128::from(SECOND_NS) * denominator / numerator;
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// The stream begins at `time`.
    pub(crate) fn skip_to(&mut self, time: u64) {
        self.next = self.nearest_slot(time);
    }

    /// When the last placed slot ends.
    pub(crate) fn end(&self) -> u64 {
        self.slot_time(self.next)
    }

    /// A new source's first frame is at `time`: its rhythm becomes the grid's.
    pub(crate) fn begin_source(&mut self, time: u64) {
        self.phase_ns = 0;
        let slot = self.nearest_slot(time);
        self.phase_ns = i128::from(self.slot_time(slot)) - i128::from(time);
    }

    /// Places a frame that its source says is of `time`.
    pub(crate) fn place(&mut self, time: u64) -> VideoPlace {
        let slot = self.nearest_slot(time);
        if slot < self.next {
            return VideoPlace::Late;
        }
        let first_repeat = self.first_to_fill(slot);
        self.next = slot + 1;
        VideoPlace::Slot { slot, first_repeat }
    }

    /// The slots to fill without a source so that the stream reaches `time`.
    pub(crate) fn fill_to(&mut self, time: u64) -> std::ops::Range<u64> {
        let end = self.nearest_slot(time);
        if end <= self.next {
            return end..end;
        }
        let range = self.first_to_fill(end)..end;
        self.next = end;
        range
    }

    fn first_to_fill(&self, slot: u64) -> u64 {
        let hole = self.slot_time(slot).saturating_sub(self.slot_time(self.next));
        if hole > LONGEST_FILL_NS { slot } else { self.next }
    }

    fn nearest_slot(&self, time: u64) -> u64 {
        let (numerator, denominator) = self.fraction();
        let time = u128::try_from(i128::from(time) + self.phase_ns).unwrap_or(0);
        let second = u128::from(SECOND_NS) * denominator;
        u64::try_from((time * numerator + second / 2) / second).unwrap_or(u64::MAX)
    }

    fn fraction(&self) -> (u128, u128) {
        (u128::from(self.rate.numerator.max(1)), u128::from(self.rate.denominator.max(1)))
    }
}

/// What to do with a piece of sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SoundPlace {
    /// Where it goes, or the silence before it, in samples since the stream began.
    pub(crate) position: u64,
    /// Samples of silence to put before it.
    pub(crate) silence: u64,
    /// Samples to cut from its beginning.
    pub(crate) skip: u64,
}

/// The unbroken count of audio samples.
#[derive(Debug, Default)]
pub(crate) struct SoundTimeline {
    next: u64,
    exact: bool,
}

impl SoundTimeline {
    /// When a sample sounds.
    pub(crate) fn sample_time(sample: u64) -> u64 {
        let time = u128::from(sample) * u128::from(SECOND_NS) / u128::from(SAMPLE_RATE);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// The sample that sounds at a time.
    pub(crate) fn sample_at(time: u64) -> u64 {
        let sample = (u128::from(time) * u128::from(SAMPLE_RATE) + u128::from(SECOND_NS / 2)) / u128::from(SECOND_NS);
        u64::try_from(sample).unwrap_or(u64::MAX)
    }

    /// The stream begins at `time`.
    pub(crate) fn skip_to(&mut self, time: u64) {
        self.next = Self::sample_at(time);
    }

    /// A new source's sound is placed exactly at first.
    pub(crate) fn begin_source(&mut self) {
        self.exact = true;
    }

    /// Places `samples` samples that their source says begin at `time`.
    pub(crate) fn place(&mut self, time: u64, samples: u64) -> SoundPlace {
        let wanted = Self::sample_at(time);
        let tolerance = if std::mem::take(&mut self.exact) { 0 } else { SOUND_TOLERANCE_SAMPLES };
        if wanted.abs_diff(self.next) <= tolerance {
            return self.advance(0, 0, samples);
        }
        if wanted < self.next {
            return self.advance(0, (self.next - wanted).min(samples), samples);
        }
        self.jump_over(wanted);
        self.advance(wanted - self.next, 0, samples)
    }

    /// The silence that makes the stream reach `time`: first sample and count.
    pub(crate) fn fill_to(&mut self, time: u64) -> SoundPlace {
        let wanted = Self::sample_at(time).max(self.next);
        self.jump_over(wanted);
        self.advance(wanted - self.next, 0, 0)
    }

    fn jump_over(&mut self, wanted: u64) {
        if Self::sample_time(wanted.saturating_sub(self.next)) > LONGEST_FILL_NS {
            self.next = wanted;
        }
    }

    fn advance(&mut self, silence: u64, skip: u64, samples: u64) -> SoundPlace {
        let position = self.next;
        self.next += silence + samples - skip;
        SoundPlace { position, silence, skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn grid(numerator: u32, denominator: u32) -> VideoTimeline {
        VideoTimeline::new(FrameRate { numerator, denominator })
    }

    fn slot(slot: u64, first_repeat: u64) -> VideoPlace {
        VideoPlace::Slot { slot, first_repeat }
    }

    #[test]
    fn frames_of_the_same_rate_fill_every_slot_once() {
        for (numerator, denominator) in [(30, 1), (25, 1), (30_000, 1_001), (60, 1), (5, 1)] {
            for start in [0, 7 * MS, 1_234 * MS] {
                let mut grid = grid(numerator, denominator);
                grid.begin_source(start);
                let frame = |n: u64| start + n * SECOND_NS * u64::from(denominator) / u64::from(numerator);
                let VideoPlace::Slot { slot: first, .. } = grid.place(start) else { panic!("first frame dropped") };
                for n in 1..1_000 {
                    // Jitter of a quarter of a frame either way changes nothing.
                    let jitter = SECOND_NS / u64::from(numerator) / 4;
                    let time = if n % 2 == 0 { frame(n) + jitter } else { frame(n) - jitter };
                    assert_eq!(grid.place(time), slot(first + n, first + n), "{numerator}/{denominator} frame {n}");
                }
            }
        }
    }

    #[test]
    fn slower_sources_are_repeated_and_faster_ones_thinned() {
        let placed = |source_fps: u64| {
            let mut grid = grid(30, 1);
            grid.begin_source(0);
            let mut shown = 0;
            let mut slots = 0;
            for n in 0..source_fps * 10 {
                if let VideoPlace::Slot { slot, first_repeat } = grid.place(n * SECOND_NS / source_fps) {
                    shown += 1;
                    slots += slot - first_repeat + 1;
                }
            }
            (shown, slots)
        };
        let (shown, slots) = placed(25);
        assert!(shown == 250 && (298..=300).contains(&slots), "every frame of 25 per second, and 30 slots: {slots}");
        let (shown, slots) = placed(60);
        assert!(shown == slots && (300..=301).contains(&shown), "{shown} of 600");
    }

    #[test]
    fn a_late_frame_is_dropped_and_a_hole_filled() {
        let mut grid = grid(10, 1);
        grid.begin_source(0);
        assert_eq!(grid.place(0), slot(0, 0));
        assert_eq!(grid.place(500 * MS), slot(5, 1));
        assert_eq!(grid.place(300 * MS), VideoPlace::Late);
        assert_eq!(grid.fill_to(900 * MS), 6..9);
        assert_eq!(grid.fill_to(900 * MS), 9..9);
        assert_eq!(grid.place(800 * MS), VideoPlace::Late);
        assert_eq!(grid.place(900 * MS), slot(9, 9));
    }

    #[test]
    fn a_hole_of_many_seconds_is_jumped_over() {
        let mut grid = grid(10, 1);
        grid.begin_source(0);
        grid.place(0);
        assert_eq!(grid.place(3_600_000 * MS), slot(36_000, 36_000));
        assert_eq!(grid.fill_to(7_200_000 * MS), 72_000..72_000);
        let mut sound = SoundTimeline::default();
        let place = sound.place(3_600_000 * MS, 480);
        assert_eq!(place, SoundPlace { position: 172_800_000, silence: 0, skip: 0 });
    }

    #[test]
    fn a_new_source_takes_over_on_the_grid() {
        let mut grid = grid(30, 1);
        grid.begin_source(0);
        for n in 0..30 {
            grid.place(n * SECOND_NS / 30);
        }
        // Half a frame off the grid: the worst case for rounding.
        let start = SECOND_NS + SECOND_NS / 60;
        grid.begin_source(start);
        let VideoPlace::Slot { slot: first, .. } = grid.place(start) else { panic!("dropped") };
        assert!((30..=31).contains(&first));
        for n in 1..100 {
            let jitter = if n % 2 == 0 { 3 * MS } else { 0 };
            assert_eq!(grid.place(start + n * SECOND_NS / 30 - jitter), slot(first + n, first + n));
        }
    }

    #[test]
    fn sound_is_one_unbroken_count() {
        let mut sound = SoundTimeline::default();
        sound.begin_source();
        let place = |position, silence, skip| SoundPlace { position, silence, skip };
        assert_eq!(sound.place(0, 480), place(0, 0, 0));
        // 20 ms off: within tolerance, simply continued.
        assert_eq!(sound.place(30 * MS, 480), place(480, 0, 0));
        // 100 ms ahead of its place: silence before it.
        assert_eq!(sound.place(120 * MS, 480), place(960, 4_800, 0));
        // 100 ms behind: what was covered already is cut.
        assert_eq!(sound.place(30 * MS, 9_600), place(6_240, 0, 4_800));
        assert_eq!(sound.place(0, 480), place(11_040, 0, 480));
        assert_eq!(sound.fill_to(230 * MS), place(11_040, 0, 0));
        assert_eq!(sound.fill_to(330 * MS), place(11_040, 4_800, 0));
    }

    #[test]
    fn a_new_source_s_sound_is_placed_exactly() {
        let mut sound = SoundTimeline::default();
        sound.begin_source();
        sound.place(0, 480);
        sound.begin_source();
        assert_eq!(sound.place(20 * MS, 480), SoundPlace { position: 480, silence: 480, skip: 0 });
    }
}
