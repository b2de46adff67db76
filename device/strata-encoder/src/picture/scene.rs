//! The scenes: test pattern, simulated camera, slate.
//!
//! Owns what they look like at a moment. Each keeps its unmoving part as a
//! finished picture, so that a frame costs one copy and a few rectangles.

use super::timecode::{self, Timecode};
use super::{Canvas, Colour, Layout, area};

const WHITE: Colour = [235, 128, 128];
const BLACK: Colour = [16, 128, 128];
const RED: Colour = [81, 90, 240];
const AMBER: Colour = [162, 44, 142];

/// 75 % bars: white, yellow, cyan, green, magenta, red, blue (ITU-R BT.471 order, BT.709 values).
const BARS: [Colour; 7] =
    [[180, 128, 128], [168, 44, 136], [145, 147, 44], [133, 63, 52], [63, 193, 204], [51, 109, 212], [28, 212, 120]];

/// Which scene.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SceneKind {
    /// Bars, clock, counter, timecode strip, a sweeping line.
    TestPattern,
    /// A landscape in motion, with the camera's name.
    SimulatedCamera(String),
    /// What is shown while the source gives nothing.
    Slate,
}

/// When a frame is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) unix_ms: u64,
    /// Milliseconds since the scene began; drives the motion.
    pub(crate) scene_ms: u64,
    /// Frames since the scene began.
    pub(crate) counter: u64,
}

/// A scene at one size.
pub(crate) struct Scene {
    kind: SceneKind,
    background: Vec<u8>,
    hills: [Vec<u16>; 2],
}

impl Scene {
    /// Prepares the unmoving part. `size` is that of the memory that [`Self::paint`] gets.
    pub(crate) fn new(kind: SceneKind, layout: Layout, size: usize) -> Self {
        let mut background = vec![0; size];
        let mut canvas = Canvas::new(&mut background, layout);
        match &kind {
            SceneKind::TestPattern => bars(&mut canvas),
            SceneKind::SimulatedCamera(_) => sky(&mut canvas),
            SceneKind::Slate => slate(&mut canvas),
        }
        let hills = [hill_line(layout, 7, 9), hill_line(layout, 5, 5)];
        Self { kind, background, hills }
    }

    /// Paints one frame.
    pub(crate) fn paint(&self, canvas: &mut Canvas<'_>, moment: Moment) {
        canvas.copy_from(&self.background);
        match &self.kind {
            SceneKind::TestPattern => paint_test_pattern(canvas, moment),
            SceneKind::SimulatedCamera(name) => self.paint_camera(canvas, moment, name),
            SceneKind::Slate => paint_slate(canvas, moment),
        }
    }

    fn paint_camera(&self, canvas: &mut Canvas<'_>, moment: Moment, name: &str) {
        let (width, height) = (canvas.width(), canvas.height());
        let sun = height / 6;
        let sun_x = swing(moment.scene_ms, 20_000, width.saturating_sub(sun));
        canvas.fill(area(sun_x, height / 7, sun, sun), [220, 40, 150]);
        self.paint_hills(canvas, moment.scene_ms);
        let car = width / 12;
        let car_x = progress(moment.scene_ms, 7_000, width + car);
        canvas.fill(area(car_x.saturating_sub(car), height * 7 / 8, car.min(car_x), car / 3), RED);
        let below = canvas.plate(height / 24, width / 200, &format!("SIMULATED {name}"), [BLACK, AMBER]);
        canvas.plate(below, width / 320, &clock(moment.unix_ms), [BLACK, WHITE]);
    }

    /// Two lines of hills, the nearer one faster.
    fn paint_hills(&self, canvas: &mut Canvas<'_>, scene_ms: u64) {
        const COLOURS: [Colour; 2] = [[110, 118, 112], [75, 105, 110]];
        let (width, height) = (canvas.width(), canvas.height());
        let offsets = [progress(scene_ms, 24_000, width), progress(scene_ms, 9_000, width)];
        let lines = [0, 1].map(|hill| &self.hills[hill][offsets[hill]..offsets[hill] + width]);
        let top = usize::from(self.hills.iter().flatten().copied().min().unwrap_or(0));
        for y in top..height {
            let level = u16::try_from(y).unwrap_or(u16::MAX);
            for (x, pixel) in canvas.luma_line(y).iter_mut().enumerate() {
                *pixel = shade(*pixel, [level >= lines[0][x], level >= lines[1][x]], [COLOURS[0][0], COLOURS[1][0]]);
            }
        }
        for y in top.div_ceil(2)..height / 2 {
            let level = u16::try_from(2 * y).unwrap_or(u16::MAX);
            for plane in [1, 2] {
                for (x, pixel) in canvas.chroma_line(plane, y).iter_mut().enumerate() {
                    let covers = [level >= lines[0][2 * x], level >= lines[1][2 * x]];
                    *pixel = shade(*pixel, covers, [COLOURS[0][plane], COLOURS[1][plane]]);
                }
            }
        }
    }
}

fn shade(sky: u8, covers: [bool; 2], hills: [u8; 2]) -> u8 {
    let far = if covers[0] { hills[0] } else { sky };
    if covers[1] { hills[1] } else { far }
}

/// Height of a hill's ridge per column, for two picture widths so that it can scroll round.
fn hill_line(layout: Layout, tenths: usize, waves: u32) -> Vec<u16> {
    let base = layout.height as f64 * tenths as f64 / 10.0 + layout.height as f64 / 10.0;
    let swing = layout.height as f64 / 14.0;
    (0..2 * layout.width)
        .map(|x| {
            let turn = std::f64::consts::TAU * (x % layout.width) as f64 / layout.width as f64;
            let ridge = (turn * 2.0).sin() + 0.4 * (turn * f64::from(waves)).sin();
            (base + swing * ridge).clamp(0.0, f64::from(u16::MAX)) as u16
        })
        .collect()
}

fn bars(canvas: &mut Canvas<'_>) {
    let (width, height) = (canvas.width(), canvas.height());
    for (index, &bar) in BARS.iter().enumerate() {
        let from = width * index / BARS.len();
        let to = width * (index + 1) / BARS.len();
        canvas.fill(area(from, 0, to - from + 1, height), bar);
    }
    // A grey ramp below shows crushed blacks and whites.
    for step in 0..16 {
        let from = width * step / 16;
        let luma = u8::try_from(16 + step * 219 / 15).expect("at most 235");
        canvas.fill(area(from, height * 3 / 4, width / 16 + 2, height), [luma, 128, 128]);
    }
}

fn sky(canvas: &mut Canvas<'_>) {
    let (width, height) = (canvas.width(), canvas.height());
    for y in (0..height).step_by(2) {
        let luma = u8::try_from(120 + 90 * y / height).expect("at most 210");
        let blue = u8::try_from(170 - 30 * y / height).expect("at most 170");
        canvas.fill(area(0, y, width, 2), [luma, blue, 110]);
    }
}

fn slate(canvas: &mut Canvas<'_>) {
    let (width, height) = (canvas.width(), canvas.height());
    canvas.fill(area(0, 0, width, height), [40, 140, 120]);
    let below = canvas.plate(height * 2 / 5, width / 90, "NO INPUT", [BLACK, AMBER]);
    canvas.plate(below + height / 40, width / 260, "THE SOURCE GIVES NO PICTURE", [[40, 140, 120], WHITE]);
}

fn paint_test_pattern(canvas: &mut Canvas<'_>, moment: Moment) {
    let (width, height) = (canvas.width(), canvas.height());
    let line = (width / 80).max(2);
    canvas.fill(area(progress(moment.scene_ms, 4_000, width), 0, line, height * 3 / 4), WHITE);
    let block = height / 8;
    let x = swing(moment.scene_ms, 3_000, width.saturating_sub(block));
    canvas.fill(area(x, height * 4 / 5, block, block), RED);
    snow(canvas, moment.counter);
    let below = canvas.plate(height / 5, width / 110, "TEST PATTERN", [BLACK, AMBER]);
    let below = canvas.plate(below + height / 40, width / 160, &clock(moment.unix_ms), [BLACK, WHITE]);
    canvas.plate(below + height / 40, width / 320, &format!("FRAME {}", moment.counter), [BLACK, WHITE]);
    let counter = u32::try_from(moment.counter % (1 << 20)).expect("20 bits");
    timecode::write(canvas, Timecode { unix_ms: moment.unix_ms % (1 << 42), counter });
}

/// A patch that no encoder can compress: the stream then fills its bitrate, as a lively camera's does.
fn snow(canvas: &mut Canvas<'_>, counter: u64) {
    let (width, height) = (canvas.width(), canvas.height());
    let (from, to) = (width * 7 / 8, width - width / 80);
    let mut random = counter.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for y in height / 2..height * 3 / 4 - height / 40 {
        for pixels in canvas.luma_line(y)[from..to].chunks_mut(8) {
            // Xorshift (Marsaglia 2003): eight pixels of noise a step.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            for (pixel, noise) in pixels.iter_mut().zip(random.to_le_bytes()) {
                *pixel = 48 + noise / 2;
            }
        }
    }
}

fn paint_slate(canvas: &mut Canvas<'_>, moment: Moment) {
    let (width, height) = (canvas.width(), canvas.height());
    // Something moves: a viewer sees that the stream itself is alive.
    let dot = height / 36;
    let x = swing(moment.scene_ms, 4_000, width.saturating_sub(dot));
    canvas.fill(area(x, height * 9 / 10, dot, dot), AMBER);
}

/// 0 to `range` within `period_ms`, then from the start again.
fn progress(now_ms: u64, period_ms: u64, range: usize) -> usize {
    usize::try_from(now_ms % period_ms * range as u64 / period_ms).unwrap_or(0)
}

/// 0 to `range` and back within `period_ms`.
fn swing(now_ms: u64, period_ms: u64, range: usize) -> usize {
    let there_and_back = progress(now_ms, period_ms, 2 * range);
    there_and_back.min(2 * range - there_and_back)
}

fn clock(unix_ms: u64) -> String {
    let of_day = unix_ms % 86_400_000;
    let (hours, minutes, seconds) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03} UTC", of_day % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::tests::Picture;

    fn frame(kind: SceneKind, width: usize, height: usize, ms: u64) -> Picture {
        let mut picture = Picture::new(width, height);
        let scene = Scene::new(kind, picture.layout, picture.memory.len());
        let moment = Moment { unix_ms: 1_795_420_800_000 + ms, scene_ms: ms, counter: ms / 33 };
        picture.paint(|canvas| scene.paint(canvas, moment));
        picture
    }

    fn kinds() -> [SceneKind; 3] {
        [SceneKind::TestPattern, SceneKind::SimulatedCamera("front".into()), SceneKind::Slate]
    }

    #[test]
    fn every_scene_moves_and_fits_every_size() {
        for (width, height) in [(160, 90), (320, 180), (1280, 720), (1920, 1080), (720, 1280), (7680, 4320)] {
            for kind in kinds() {
                let (one, other) = (frame(kind.clone(), width, height, 500), frame(kind.clone(), width, height, 900));
                assert_ne!(one.luma, other.luma, "{kind:?} at {width}x{height}");
            }
        }
    }

    #[test]
    fn the_simulated_camera_looks_unlike_the_test_pattern() {
        let pattern = frame(SceneKind::TestPattern, 640, 360, 1_000);
        let camera = frame(SceneKind::SimulatedCamera("front".into()), 640, 360, 1_000);
        let differing = pattern.luma.iter().zip(&camera.luma).filter(|(one, other)| one.abs_diff(**other) > 16).count();
        assert!(differing * 2 > pattern.luma.len(), "{differing} of {}", pattern.luma.len());
    }

    #[test]
    fn the_test_pattern_carries_time_and_counter() {
        let picture = frame(SceneKind::TestPattern, 1280, 720, 3_300);
        let read = Timecode::read(&picture.luma, 1280, 1280);
        assert_eq!(read, Some(Timecode { unix_ms: 1_795_420_803_300, counter: 100 }));
    }

    #[test]
    fn the_clock_is_readable() {
        assert_eq!(clock(1_795_420_800_000 + 3_723_004), "09:02:03.004 UTC".replace("09", &hour(1_795_420_800_000)));
        fn hour(unix_ms: u64) -> String {
            format!("{:02}", (unix_ms / 3_600_000 + 1) % 24)
        }
    }
}
