//! Pure byte work on MPEG-TS and on H.264/H.265 NAL units.
//!
//! Owns: reading a transport stream from chunks of any size ([`Scanner`]),
//! cutting it at key frames into self-contained segments ([`Segmenter`]), and
//! letting it begin at a key frame ([`KeyFrameGate`]). Does not own: files,
//! playlists, clocks, sockets; it reads no clock and spawns nothing. Bad input
//! is skipped and counted, never a panic; memory stays bounded for any input.
//!
//! Sources: ISO/IEC 13818-1 (transport stream, PSI, PES), ISO/IEC 14496-10 and
//! 23008-2 (NAL units), RFC 8216 (what a segment must hold).

mod gate;
mod nal;
mod scan;
mod segment;
mod segmenter;
mod ticks;
pub mod ts;

pub use gate::KeyFrameGate;
pub use nal::VideoCoding;
pub use scan::{AccessUnit, Scanned, Scanner, ScannerStats};
pub use segment::Segment;
pub use segmenter::{Segmenter, SegmenterConfig, SegmenterStats};
pub use ticks::{Ticks, Unwrapper};
