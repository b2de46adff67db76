//! Sources: each turns what it reads or makes into the stream's raw format and pushes it into the seam.
//!
//! Owns opening, errors for people, and ends: dropping a [`RunningSource`] ends
//! its threads and pipelines. A source runs apart from the encoder's pipeline,
//! so whatever it does, the stream goes on.

mod branch;
mod camera;
pub(crate) mod codes;
mod decode;
mod file;
mod generated;

use strata_control::{EndReason, Source};
use strata_encoder_protocol::SourceError;

use crate::format::RawFormat;
use crate::picture::SceneKind;
use crate::seam::SourceTap;
use crate::tone::Tone;

/// A source at work, until it is dropped.
#[derive(Debug)]
pub(crate) enum RunningSource {
    /// Made up by this process.
    Generated(#[allow(dead_code, reason = "held for its end")] generated::GeneratedSource),
    /// A file in a loop.
    File(#[allow(dead_code, reason = "held for its end")] file::FileSource),
    /// A V4L2 node.
    Camera(#[allow(dead_code, reason = "held for its end")] camera::CameraSource),
}

/// Starts a source; blocks for as long as opening it takes.
pub(crate) fn start(source: &Source, format: &RawFormat, tap: SourceTap) -> Result<RunningSource, SourceError> {
    match source {
        Source::TestPattern => {
            generated::start(SceneKind::TestPattern, Tone::test_pattern(), format, tap).map(RunningSource::Generated)
        }
        Source::File { path } => file::start(path, format, tap).map(RunningSource::File),
        Source::Camera { input } => match input.split_once(':') {
            Some(("simulated", name)) if !name.is_empty() => {
                let scene = SceneKind::SimulatedCamera(name.to_owned());
                generated::start(scene, Tone::simulated_camera(), format, tap).map(RunningSource::Generated)
            }
            Some(("v4l2", node)) if !node.is_empty() => camera::start(node, format, tap).map(RunningSource::Camera),
            _ => Err(source_error(
                EndReason::SourceMissing,
                format!("camera “{input}”: v4l2:/dev/videoN or simulated:NAME expected; choose one the device lists"),
            )),
        },
    }
}

/// How people call it.
pub(crate) fn describe(source: &Source) -> String {
    match source {
        Source::TestPattern => "the test pattern".to_owned(),
        Source::File { path } => format!("the file {path}"),
        Source::Camera { input } => format!("the camera {input}"),
    }
}

fn source_error(reason: EndReason, message: String) -> SourceError {
    SourceError { reason, message }
}
