//! QR codes that somebody holds before a camera: their texts, one a line, as JSON strings.
//!
//! Owns a capture of few pictures and reading codes in their grey. Does not own what a text means: the agent, who
//! starts this while the device has no way to its relay, knows. Ends when its standard input does, so that the camera
//! is free as soon as the agent wants it for something else, or dies.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use strata_control::{EncoderSettings, EndReason, FrameRate};
use strata_encoder_protocol::SourceError;

use super::{branch, camera, source_error};
use crate::format::RawFormat;

/// People hold a code still for longer than half a second.
const RATE: u32 = 2;
/// Enough for a code of a third of the picture's height: a link with a token has 45 modules.
const SIZE: (u32, u32) = (1280, 720);
/// How long a picture is waited for at a time.
const NAP: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// Looks until standard input ends.
///
/// # Errors
/// When the camera gives no pictures, or nobody reads what is found.
pub(crate) fn look(node: &str, out: &mut impl Write) -> Result<(), SourceError> {
    let settings = EncoderSettings {
        width: SIZE.0,
        height: SIZE.1,
        frame_rate: FrameRate::per_second(RATE),
        ..EncoderSettings::default()
    };
    let other = |error: &dyn std::fmt::Display| source_error(EndReason::Other, error.to_string());
    let format = RawFormat::new(&settings).map_err(|error| other(&error))?;
    let sink = branch::sink("codes");
    sink.set_max_buffers(1);
    let camera = camera::capture(node, &format, &sink)?;
    let over = over()?;
    while !over.load(Ordering::Relaxed) {
        if let Some(failure) = camera.failure(node) {
            return Err(failure);
        }
        let Some(sample) = sink.try_pull_sample(NAP) else { continue };
        for text in sample.buffer().map(|buffer| texts_of(buffer, &format.info)).unwrap_or_default() {
            let line = serde_json::Value::from(text);
            writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| other(&error))?;
        }
    }
    Ok(())
}

/// Becomes true when standard input ends.
fn over() -> Result<Arc<AtomicBool>, SourceError> {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let wait = move || {
        // Nothing is said there; an error is an end as well.
        let _ended = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        told.store(true, Ordering::Relaxed);
    };
    let thread = std::thread::Builder::new().name("stdin".to_owned()).spawn(wait);
    thread.map_err(|error| source_error(EndReason::Other, format!("no thread for standard input: {error}")))?;
    Ok(over)
}

/// The texts of the codes in a picture.
fn texts_of(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Vec<String> {
    let Ok(frame) = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info) else { return Vec::new() };
    let (Ok(grey), Some(stride)) = (frame.plane_data(0), frame.plane_stride().first()) else { return Vec::new() };
    let stride = usize::try_from(*stride).unwrap_or_default();
    let at = |x: usize, y: usize| grey.get(y * stride + x).copied().unwrap_or(u8::MAX);
    read(info.width() as usize, info.height() as usize, at)
}

fn read(width: usize, height: usize, at: impl FnMut(usize, usize) -> u8) -> Vec<String> {
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, at);
    let texts = picture.detect_grids().into_iter().filter_map(|grid| grid.decode().ok());
    texts.map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use qrcode::{Color, QrCode};

    const TEXT: &str = "http://10.42.0.1/relay?relay=wss%3A%2F%2Frelay.example.net&enrolment=4KFT-PXQ9-7CNA-2WMB";

    /// A code as a camera sees it: so many pixels a module, turned by so many degrees, grey, noisy, and lit from one side.
    fn seen(text: &str, pixels: f64, degrees: f64, noise: u8) -> Vec<String> {
        let code = QrCode::new(text).unwrap();
        let (modules, colors) = (code.width() as f64, code.to_colors());
        let (sin, cos) = degrees.to_radians().sin_cos();
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let (width, height) = (SIZE.0 as usize, SIZE.1 as usize);
        read(width, height, |x, y| {
            let (x, y) = (x as f64 - width as f64 / 2.0, y as f64 - height as f64 / 2.0);
            let (column, row) =
                ((x * cos + y * sin) / pixels + modules / 2.0, (y * cos - x * sin) / pixels + modules / 2.0);
            let paper = (-4.0..modules + 4.0).contains(&column) && (-4.0..modules + 4.0).contains(&row);
            let inside = (0.0..modules).contains(&column) && (0.0..modules).contains(&row);
            let dark = inside && colors[row as usize * code.width() + column as usize] == Color::Dark;
            let light = 60.0 * (x / width as f64);
            let grey = if dark {
                50.0
            } else if paper {
                190.0
            } else {
                110.0
            } + light;
            (grey as u8).saturating_add(if noise == 0 { 0 } else { random() % noise })
        })
    }

    #[test]
    fn a_code_is_read_as_people_hold_it() {
        for (pixels, degrees, noise) in
            [(4.0, 0.0, 0), (6.0, 0.0, 30), (8.0, 10.0, 30), (5.0, 45.0, 20), (12.0, 180.0, 30)]
        {
            assert_eq!(seen(TEXT, pixels, degrees, noise), [TEXT], "{pixels} {degrees} {noise}");
        }
    }

    #[test]
    fn any_text_comes_as_it_is() {
        for text in ["WIFI:T:WPA;S:Caf\u{e9} \u{2615};P:p\\;p;;", "line\nline", "x"] {
            assert_eq!(seen(text, 6.0, 0.0, 0), [text]);
        }
    }

    #[test]
    fn where_there_is_no_code_there_is_no_text() {
        let mut state = 7_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for _ in 0..20 {
            assert_eq!(read(320, 240, |_, _| random()), Vec::<String>::new());
        }
        assert_eq!(read(1, 1, |_, _| 0), Vec::<String>::new());
        assert_eq!(read(1280, 720, |x, y| if (x / 9 + y / 9) % 2 == 0 { 0 } else { 255 }), Vec::<String>::new());
    }
}
