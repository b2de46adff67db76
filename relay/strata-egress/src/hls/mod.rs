//! The HLS output: segments and a live playlist in a folder.
//!
//! Owns: what is in the playlist ([`Playlist`]), and a thread that writes the
//! files ([`Hls`]). Does not own: where segments are cut (`strata-media`), who
//! serves the files.

mod folder;
mod playlist;
mod writer;

pub use folder::{Folder, FolderError};
pub use playlist::{Entry, Playlist, PlaylistError};
pub use writer::{Hls, HlsInlet, HlsStatus};

/// The playlist's file name.
pub const PLAYLIST_NAME: &str = "index.m3u8";

/// The name of a segment's file: its media sequence number makes it unique for ever.
#[must_use]
pub fn segment_name(sequence: u64) -> String {
    format!("segment-{sequence:08}.ts")
}

/// The media sequence number in a segment's name; none for other files.
#[must_use]
pub fn segment_sequence(name: &str) -> Option<u64> {
    name.strip_prefix("segment-")?.strip_suffix(".ts")?.parse().ok()
}
