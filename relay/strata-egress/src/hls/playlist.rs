//! A live media playlist (RFC 8216).
//!
//! Owns the rules: the media sequence only grows, by one per segment; the
//! target duration never changes; a discontinuity that leaves the window is
//! counted. Knows no files.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;

use super::{segment_name, segment_sequence};

/// Segments in a live playlist: 20 s at 2 s each, so that a player that was held up finds its place again.
pub(super) const WINDOW: usize = 10;

/// One segment in the playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// How long it plays.
    pub duration: Duration,
    /// Whether its timestamps or streams do not continue those before it.
    pub discontinuity: bool,
    /// Whether it can be decoded without the one before it.
    pub is_independent: bool,
    /// When it began to arrive here, by the relay's clock.
    pub program_date_time: Option<Timestamp>,
}

/// A text that is not one of our playlists.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaylistError {
    /// Not a playlist at all.
    #[error("not a media playlist: {0}")]
    Syntax(String),
    /// A playlist, but its segments are not named as ours are.
    #[error("segment “{0}” does not carry its media sequence number")]
    Name(String),
}

/// A live media playlist.
#[derive(Debug, Clone, PartialEq)]
pub struct Playlist {
    target_duration_s: u32,
    media_sequence: u64,
    discontinuity_sequence: u64,
    entries: VecDeque<Entry>,
    is_ended: bool,
}

impl Playlist {
    /// An empty playlist whose first segment will have this number.
    #[must_use]
    pub fn new(target_duration_s: u32, first_sequence: u64) -> Self {
        Self {
            target_duration_s,
            media_sequence: first_sequence,
            discontinuity_sequence: 0,
            entries: VecDeque::new(),
            is_ended: false,
        }
    }

    /// The target duration in seconds.
    #[must_use]
    pub fn target_duration_s(&self) -> u32 {
        self.target_duration_s
    }

    /// The number of the oldest segment.
    #[must_use]
    pub fn media_sequence(&self) -> u64 {
        self.media_sequence
    }

    /// The number that the next segment gets.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.media_sequence + self.entries.len() as u64
    }

    /// Discontinuities that left the window.
    #[must_use]
    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// The segments, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Appends a segment; the oldest leaves when the window is full.
    pub fn push(&mut self, entry: Entry) {
        self.is_ended = false;
        self.entries.push_back(entry);
        while self.entries.len() > WINDOW {
            self.media_sequence += 1;
            let left = self.entries.pop_front();
            if left.is_some_and(|entry| entry.discontinuity) {
                self.discontinuity_sequence += 1;
            }
        }
    }

    /// No more segments come.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    /// The playlist as text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(256 + 128 * self.entries.len());
        text.push_str("#EXTM3U\n#EXT-X-VERSION:3\n");
        if self.entries.iter().all(|entry| entry.is_independent) {
            text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
        }
        // Writing to a string cannot fail.
        writeln!(text, "#EXT-X-TARGETDURATION:{}", self.target_duration_s).ok();
        writeln!(text, "#EXT-X-MEDIA-SEQUENCE:{}", self.media_sequence).ok();
        writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuity_sequence).ok();
        for (entry, sequence) in self.entries.iter().zip(self.media_sequence..) {
            if entry.discontinuity {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if let Some(time) = entry.program_date_time {
                writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{time:.3}").ok();
            }
            writeln!(text, "#EXTINF:{:.5},\n{}", entry.duration.as_secs_f64(), segment_name(sequence)).ok();
        }
        if self.is_ended {
            text.push_str("#EXT-X-ENDLIST\n");
        }
        text
    }

    /// Reads a playlist that an earlier worker wrote.
    ///
    /// # Errors
    /// [`PlaylistError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PlaylistError> {
        let parsed = m3u8_rs::parse_media_playlist_res(text.as_bytes())
            .map_err(|error| PlaylistError::Syntax(error.to_string().chars().take(120).collect()))?;
        let mut entries = VecDeque::with_capacity(parsed.segments.len());
        for (segment, sequence) in parsed.segments.iter().zip(parsed.media_sequence..) {
            if segment_sequence(&segment.uri) != Some(sequence) {
                return Err(PlaylistError::Name(segment.uri.chars().take(120).collect()));
            }
            let time = segment.program_date_time.map(|time| time.timestamp_micros());
            entries.push_back(Entry {
                duration: Duration::try_from_secs_f32(segment.duration).unwrap_or_default(),
                discontinuity: segment.discontinuity,
                is_independent: parsed.independent_segments,
                program_date_time: time.and_then(|micros| Timestamp::from_microsecond(micros).ok()),
            });
        }
        Ok(Self {
            target_duration_s: u32::try_from(parsed.target_duration)
                .map_err(|_| PlaylistError::Syntax(format!("target duration {}", parsed.target_duration)))?,
            media_sequence: parsed.media_sequence,
            discontinuity_sequence: parsed.discontinuity_sequence,
            entries,
            is_ended: parsed.end_list,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(discontinuity: bool) -> Entry {
        Entry {
            duration: Duration::from_millis(2_002),
            discontinuity,
            is_independent: true,
            program_date_time: Some("2026-01-02T03:04:05.678Z".parse().unwrap()),
        }
    }

    #[test]
    fn the_text_is_what_rfc_8216_asks_for() {
        let mut playlist = Playlist::new(2, 7);
        playlist.push(entry(false));
        playlist.push(entry(true));
        playlist.end();
        let expected = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:2\n\
            #EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY-SEQUENCE:0\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z\n#EXTINF:2.00200,\nsegment-00000007.ts\n\
            #EXT-X-DISCONTINUITY\n\
            #EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.678Z\n#EXTINF:2.00200,\nsegment-00000008.ts\n\
            #EXT-X-ENDLIST\n";
        assert_eq!(playlist.render(), expected);
    }

    #[test]
    fn the_window_slides_and_discontinuities_that_leave_are_counted() {
        let mut playlist = Playlist::new(2, 0);
        for index in 0..25u64 {
            playlist.push(entry(index == 3 || index == 20));
        }
        assert_eq!((playlist.media_sequence(), playlist.next_sequence()), (15, 25));
        assert_eq!(playlist.discontinuity_sequence(), 1);
        assert_eq!(Playlist::parse(&playlist.render()).unwrap().render(), playlist.render());
    }

    #[test]
    fn other_texts_are_errors() {
        assert!(matches!(Playlist::parse("hello"), Err(PlaylistError::Syntax(_))));
        let foreign = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfoo.ts\n";
        assert!(matches!(Playlist::parse(foreign), Err(PlaylistError::Name(_))));
    }

    #[test]
    fn a_dependent_segment_in_the_window_takes_the_promise_back() {
        let mut playlist = Playlist::new(2, 0);
        playlist.push(Entry { is_independent: false, ..entry(false) });
        assert!(!playlist.render().contains("INDEPENDENT"));
    }
}
