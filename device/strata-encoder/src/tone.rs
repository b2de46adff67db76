//! Sound that the encoder makes itself: the tones of test pattern and simulated camera.
//!
//! Owns one second of sound, which repeats without a seam because every
//! frequency is a whole number of hertz. Interleaved stereo, 16 bit, 48 kHz.

/// Samples per second and channel, everywhere in this process.
pub(crate) const SAMPLE_RATE: u64 = 48_000;
/// Channels, everywhere in this process.
pub(crate) const CHANNELS: usize = 2;
/// Bytes of one sample of both channels.
pub(crate) const FRAME_BYTES: usize = 2 * CHANNELS;

/// One second of sound.
pub(crate) struct Tone {
    second: Vec<u8>,
}

impl Tone {
    /// A steady 440 Hz at −20 dBFS with a pip of 1 kHz at each full second.
    pub(crate) fn test_pattern() -> Self {
        Self::of(|sample| {
            let frequency = if sample < SAMPLE_RATE / 10 { 1_000 } else { 440 };
            0.1 * sine(sample, frequency)
        })
    }

    /// A soft two-voiced hum that swells and fades.
    pub(crate) fn simulated_camera() -> Self {
        Self::of(|sample| {
            let swell = 0.6 + 0.4 * sine(sample, 1);
            0.05 * swell * (sine(sample, 220) + sine(sample, 277))
        })
    }

    fn of(level: impl Fn(u64) -> f64) -> Self {
        let sample = |index| (level(index).clamp(-1.0, 1.0) * f64::from(i16::MAX)) as i16;
        let second = (0..SAMPLE_RATE).flat_map(|index| [sample(index); CHANNELS]).flat_map(i16::to_le_bytes).collect();
        Self { second }
    }

    /// Fills `out` (whole samples of both channels) beginning with sample number `from`.
    pub(crate) fn fill(&self, from: u64, out: &mut [u8]) {
        let length = self.second.len();
        let start = usize::try_from(from % SAMPLE_RATE).expect("below the sample rate") * FRAME_BYTES;
        let mut written = 0;
        let mut position = start;
        while written < out.len() {
            let part = (length - position).min(out.len() - written);
            out[written..written + part].copy_from_slice(&self.second[position..position + part]);
            written += part;
            position = 0;
        }
    }
}

fn sine(sample: u64, frequency: u64) -> f64 {
    let turn = (sample * frequency % SAMPLE_RATE) as f64 / SAMPLE_RATE as f64;
    (std::f64::consts::TAU * turn).sin()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(tone: &Tone, from: u64, count: usize) -> Vec<i16> {
        let mut out = vec![0; count * FRAME_BYTES];
        tone.fill(from, &mut out);
        out.chunks(FRAME_BYTES).map(|frame| i16::from_le_bytes([frame[0], frame[1]])).collect()
    }

    #[test]
    fn it_is_audible_and_does_not_clip() {
        for tone in [Tone::test_pattern(), Tone::simulated_camera()] {
            let loudest = samples(&tone, 0, 48_000).into_iter().map(i16::unsigned_abs).max().unwrap();
            assert!((1_000..16_000).contains(&loudest), "{loudest}");
        }
    }

    #[test]
    fn parts_join_without_a_seam() {
        let tone = Tone::test_pattern();
        let whole = samples(&tone, 47_000, 3_000);
        let parts = [samples(&tone, 47_000, 1_234), samples(&tone, 48_234, 1_766)].concat();
        assert_eq!(whole, parts);
        let steepest = whole.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap();
        assert!(steepest < 1_000, "a step of {steepest} would click");
    }
}
