//! Cuts a transport stream into segments that begin with a key frame.
//!
//! Owns: where to cut and how long a segment lasts. Does not own: reading the
//! stream ([`Scanner`]), files, playlists. Packets pass unchanged, but for the
//! continuity counters of PAT and PMT, which each segment repeats at its start.

use std::collections::VecDeque;
use std::time::Duration;

use crate::scan::{AccessUnit, Scanned, Scanner};
use crate::segment::{Closing, OpenUnits, Segment, TableCounters};
use crate::ticks::Ticks;
use crate::ts::Programme;

const fn millis(millis: i64) -> Ticks {
    Ticks(millis * 90)
}

/// A cut this little before the wanted length is as good: frame durations do not divide every second.
const TOLERANCE: Ticks = millis(50);
/// Nothing shorter is cut at a key frame.
const SHORTEST: Ticks = millis(200);
/// Timestamps that go ahead by more are a new timeline, and so are those that go back by more:
/// audio and video are apart by less in any multiplex.
const JUMP_AHEAD: Ticks = millis(1_000);
const JUMP_BACK: Ticks = millis(-2_000);
/// Without a picture for this long, cuts follow the sound.
const VIDEO_STALLED: Ticks = millis(1_000);
/// Pictures further apart are counted as a gap.
const VIDEO_GAP: Ticks = millis(200);
/// A step between pictures or sound frames as long as none was seen.
const USUAL_STEP: Ticks = millis(33);
/// RFC 8216 rounds a segment's duration to the nearest second, which must not exceed the target duration.
const ROUNDING_ROOM: Ticks = millis(490);
/// A first segment this little above whole seconds does not raise the target duration.
const TARGET_SLACK: Ticks = millis(50);
const SECOND: i64 = 90_000;

/// What a segmenter is to aim at.
#[derive(Debug, Clone)]
pub struct SegmenterConfig {
    /// How long segments are to be.
    pub target: Duration,
    /// How long the first ones are to be, so that the first picture comes early.
    pub first_target: Duration,
    /// How many count as first.
    pub first_count: u32,
    /// The playlist's target duration in seconds, when it is fixed already.
    pub target_duration_s: Option<u32>,
    /// The longest segment as long as no target duration is fixed.
    pub longest: Duration,
    /// A segment that grows beyond this is ended: it bounds memory.
    pub max_bytes: usize,
}

impl Default for SegmenterConfig {
    fn default() -> Self {
        Self {
            target: Duration::from_secs(2),
            first_target: Duration::from_secs(1),
            first_count: 3,
            target_duration_s: None,
            longest: Duration::from_secs(10),
            max_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Counters since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmenterStats {
    /// Segments given out.
    pub segments: u64,
    /// Pictures in them and in the open one.
    pub video_units: u64,
    /// Places where pictures follow each other by more than 200 ms, new timelines included.
    pub video_gaps: u64,
    /// Places in the input where packets of a PID are missing.
    pub continuity_errors: u64,
    /// Bytes of the input that belonged to no packet.
    pub skipped_bytes: u64,
}

/// Takes a transport stream, gives out segments. After each [`push`](Self::push) drain [`poll_segment`](Self::poll_segment).
#[derive(Debug)]
pub struct Segmenter {
    scanner: Scanner,
    cutter: Cutter,
}

impl Segmenter {
    /// A segmenter at the beginning of a stream.
    #[must_use]
    pub fn new(config: SegmenterConfig) -> Self {
        Self { scanner: Scanner::default(), cutter: Cutter::new(config) }
    }

    /// The playlist's target duration in whole seconds; none before the first segment. Never changes then.
    #[must_use]
    pub fn target_duration_s(&self) -> Option<u32> {
        self.cutter.target_duration_s
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> SegmenterStats {
        let scanned = self.scanner.stats();
        SegmenterStats {
            continuity_errors: scanned.continuity_errors,
            skipped_bytes: scanned.skipped_bytes,
            ..self.cutter.stats
        }
    }

    /// Takes the next bytes of the stream. `stamp` is handed back with the segment that begins in them.
    pub fn push(&mut self, data: &[u8], stamp: u64) {
        let cutter = &mut self.cutter;
        self.scanner.push(data, |scanned, programme| cutter.take(&scanned, programme, stamp));
    }

    /// Another stream follows: the segment so far ends, the next one is a discontinuity.
    pub fn new_session(&mut self) {
        self.cutter.break_off();
        self.scanner.reset();
    }

    /// The next segment is marked as a discontinuity: one that was given out got lost.
    pub fn mark_discontinuity(&mut self) {
        self.cutter.next_is_discontinuity = true;
    }

    /// The stream ends: gives out what there is.
    pub fn finish(&mut self) {
        self.cutter.break_off();
    }

    /// The next finished segment.
    pub fn poll_segment(&mut self) -> Option<Segment> {
        self.cutter.ready.pop_front()
    }
}

/// The segment being filled.
#[derive(Debug)]
struct Open {
    segment: Segment,
    /// End of the last picture or sound in it, as far as known.
    end: Ticks,
}

#[derive(Debug)]
struct Cutter {
    config: SegmenterConfig,
    target_duration_s: Option<u32>,
    /// None while waiting for a key frame.
    open: Option<Open>,
    closing: Option<Closing>,
    ready: VecDeque<Segment>,
    next_is_discontinuity: bool,
    /// Segments begun since the stream began.
    begun: u32,
    counters: TableCounters,
    units: OpenUnits,
    timeline: Timeline,
    stats: SegmenterStats,
    had_video: bool,
}

/// What the timestamps said so far.
#[derive(Debug, Default)]
struct Timeline {
    /// The newest decoding time of any stream.
    newest: Option<Ticks>,
    last_video_dts: Option<Ticks>,
    last_audio: Option<Ticks>,
    last_key: Option<Ticks>,
    /// Sound since the last picture.
    audio_since_video: Ticks,
    key_interval: Ticks,
    video_step: Option<Ticks>,
    audio_step: Option<Ticks>,
}

impl Timeline {
    fn is_jump(&self, unit: &AccessUnit) -> bool {
        self.newest.is_some_and(|newest| {
            let step = unit.dts.since(newest);
            step > JUMP_AHEAD || step < JUMP_BACK
        })
    }

    fn follow_video(&mut self, unit: &AccessUnit) {
        if let Some(last) = self.last_video_dts {
            let step = unit.dts.since(last);
            if step > Ticks(0) && step <= VIDEO_GAP {
                self.video_step = Some(step);
            }
        }
        self.last_video_dts = Some(unit.dts);
        self.newest = self.newest.max(Some(unit.dts));
        self.audio_since_video = Ticks(0);
        if unit.is_key {
            self.key_interval = self.last_key.map_or(Ticks(0), |last| unit.pts.since(last));
            self.last_key = Some(unit.pts);
        }
    }

    fn follow_audio(&mut self, unit: &AccessUnit) {
        if let Some(last) = self.last_audio {
            let step = unit.pts.since(last);
            if step > Ticks(0) && step <= JUMP_AHEAD {
                self.audio_step = Some(step);
                self.audio_since_video = self.audio_since_video + step;
            }
        }
        self.last_audio = Some(unit.pts);
        // A single stray timestamp of the sound must not pass for a jump of the picture.
        if !self.is_jump(unit) {
            self.newest = self.newest.max(Some(unit.pts));
        }
    }

    fn step(&self, is_video: bool) -> Ticks {
        if is_video { self.video_step } else { self.audio_step }.unwrap_or(USUAL_STEP)
    }
}

impl Cutter {
    fn new(config: SegmenterConfig) -> Self {
        Self {
            target_duration_s: config.target_duration_s,
            config,
            open: None,
            closing: None,
            ready: VecDeque::new(),
            next_is_discontinuity: false,
            begun: 0,
            counters: TableCounters::default(),
            units: OpenUnits::default(),
            timeline: Timeline::default(),
            stats: SegmenterStats::default(),
            had_video: false,
        }
    }

    fn take(&mut self, scanned: &Scanned<'_>, programme: &Programme, stamp: u64) {
        let Scanned { packet, unit, programme_changed } = scanned;
        if *programme_changed {
            self.break_off();
        }
        let is_video = programme.video().is_some_and(|(pid, _)| pid == packet.pid());
        if !is_video && !programme.is_table(packet.pid()) {
            self.units.push(packet);
        }
        if let Some(closing) = &mut self.closing {
            let claimed = closing.claim(packet, &self.units);
            if closing.is_complete() {
                self.give_out_closing();
            }
            if claimed {
                return;
            }
        }
        if let Some(unit) = unit {
            if unit.is_video {
                self.video(unit, programme, stamp);
            } else {
                self.audio(unit, programme, stamp);
            }
        }
        if let Some(open) = &mut self.open {
            self.counters.append(&mut open.segment.data, packet, programme);
            if open.segment.data.len() >= self.config.max_bytes {
                self.break_off();
            }
        }
    }

    fn video(&mut self, unit: &AccessUnit, programme: &Programme, stamp: u64) {
        if self.timeline.is_jump(unit) {
            self.break_off();
        }
        let gap = self.timeline.last_video_dts.is_some_and(|last| unit.dts.since(last) > VIDEO_GAP);
        self.timeline.follow_video(unit);
        match &self.open {
            None if unit.is_key => self.begin(unit, programme, stamp),
            None => return,
            Some(open) if self.cuts_at_picture(open, unit) => self.cut(unit, programme, stamp),
            Some(_) => {}
        }
        if gap {
            self.stats.video_gaps += 1;
        }
        self.had_video = true;
        self.stats.video_units += 1;
        if let Some(Open { segment, .. }) = &mut self.open {
            segment.is_independent &= unit.is_key || segment.video_units > 0;
            segment.video_units += 1;
        }
        self.extend_end(unit);
    }

    fn cuts_at_picture(&self, open: &Open, unit: &AccessUnit) -> bool {
        let elapsed = unit.pts.since(open.segment.start);
        let limit = self.limit();
        if !unit.is_key {
            return elapsed + self.timeline.step(true) + self.timeline.step(true) >= limit;
        }
        let began_without_picture = open.segment.video_units == 0;
        elapsed >= SHORTEST
            && (elapsed + TOLERANCE >= self.wanted()
                || elapsed + self.timeline.key_interval >= limit
                || began_without_picture)
    }

    fn audio(&mut self, unit: &AccessUnit, programme: &Programme, stamp: u64) {
        let leads = programme.video().is_none() || self.timeline.audio_since_video > VIDEO_STALLED;
        if leads && self.timeline.is_jump(unit) {
            self.break_off();
        }
        self.timeline.follow_audio(unit);
        match &self.open {
            None if leads => self.begin(unit, programme, stamp),
            None => return,
            Some(open) => {
                let elapsed = unit.pts.since(open.segment.start);
                let wanted = if leads { self.wanted() } else { self.limit() };
                if elapsed + TOLERANCE >= wanted {
                    self.cut(unit, programme, stamp);
                }
            }
        }
        self.extend_end(unit);
    }

    fn extend_end(&mut self, unit: &AccessUnit) {
        let end = unit.pts + self.timeline.step(unit.is_video);
        if let Some(open) = &mut self.open {
            open.end = open.end.max(end);
        }
    }

    /// How long the segment at hand is to be.
    fn wanted(&self) -> Ticks {
        let is_first = self.begun <= self.config.first_count;
        Ticks::from_duration(if is_first { self.config.first_target } else { self.config.target })
    }

    /// How long it may be.
    fn limit(&self) -> Ticks {
        self.target_duration_s.map_or(Ticks::from_duration(self.config.longest), |seconds| {
            Ticks(i64::from(seconds) * SECOND) + ROUNDING_ROOM
        })
    }

    fn begin(&mut self, unit: &AccessUnit, programme: &Programme, stamp: u64) {
        let discontinuity = std::mem::take(&mut self.next_is_discontinuity);
        if discontinuity && self.had_video && unit.is_video {
            self.stats.video_gaps += 1;
        }
        let mut data = Vec::new();
        self.counters.append_tables(&mut data, programme);
        self.begun = self.begun.saturating_add(1);
        let segment = Segment {
            data,
            duration: Duration::ZERO,
            start: unit.pts,
            is_independent: true,
            discontinuity,
            stamp,
            video_units: 0,
        };
        self.open = Some(Open { segment, end: unit.pts });
    }

    /// Ends the open segment where `unit` begins the next one.
    fn cut(&mut self, unit: &AccessUnit, programme: &Programme, stamp: u64) {
        self.give_out_closing();
        if let Some(Open { segment, .. }) = self.open.take() {
            let waits_for = self.units.pids();
            let segment = self.timed(segment, unit.pts);
            self.closing = Some(Closing::new(segment, waits_for));
            if self.closing.as_ref().is_some_and(Closing::is_complete) {
                self.give_out_closing();
            }
        }
        self.begin(unit, programme, stamp);
    }

    /// Ends the open segment where it is; what follows is another timeline.
    fn break_off(&mut self) {
        self.give_out_closing();
        self.units.clear();
        if let Some(Open { segment, end }) = self.open.take() {
            let segment = self.timed(segment, end);
            self.give_out(segment);
        }
        if self.begun > 0 {
            self.next_is_discontinuity = true;
        }
        let steps = (self.timeline.video_step, self.timeline.audio_step);
        self.timeline = Timeline { video_step: steps.0, audio_step: steps.1, ..Timeline::default() };
    }

    /// Sets the duration and, with the first segment, the target duration.
    fn timed(&mut self, mut segment: Segment, end: Ticks) -> Segment {
        let duration = end.since(segment.start).clamp(millis(1), self.limit());
        if self.target_duration_s.is_none() {
            // A first segment shorter than the slack asks for nothing.
            let seconds = (duration.since(TARGET_SLACK).0.max(0) as u64).div_ceil(SECOND as u64);
            let target = self.config.target.as_secs_f64().ceil() as u64;
            self.target_duration_s = Some(u32::try_from(seconds.max(target)).unwrap_or(u32::MAX));
        }
        segment.duration = duration.to_duration();
        segment
    }

    fn give_out_closing(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.give_out(closing.segment);
        }
    }

    fn give_out(&mut self, segment: Segment) {
        self.stats.segments += 1;
        self.ready.push_back(segment);
    }
}
