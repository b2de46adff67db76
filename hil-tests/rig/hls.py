"""HLS as a viewer's player meets it: fetches playlists and segments, and watches that the sequence never goes back."""

import http.client
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path


class PlaylistError(ValueError):
    """A playlist that a player would refuse."""


@dataclass(frozen=True)
class Segment:
    """A segment as the playlist names it."""

    sequence: int
    uri: str
    duration_s: float
    discontinuity: bool


@dataclass(frozen=True)
class Playlist:
    """A media playlist (RFC 8216)."""

    media_sequence: int
    target_duration_s: int
    ended: bool
    segments: list[Segment]


def parse(text: str) -> Playlist:
    """Read a media playlist."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or lines[0] != "#EXTM3U":
        raise PlaylistError(f"no #EXTM3U at its start: {text[:80]!r}")
    sequence, target, ended, discontinuity, duration = 0, 0, False, False, None
    segments: list[Segment] = []
    for line in lines[1:]:
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            sequence = int(value)
        elif tag == "#EXT-X-TARGETDURATION":
            target = int(value)
        elif tag == "#EXT-X-ENDLIST":
            ended = True
        elif tag == "#EXT-X-DISCONTINUITY":
            discontinuity = True
        elif tag == "#EXTINF":
            duration = float(value.split(",")[0])
        elif not line.startswith("#"):
            if duration is None:
                raise PlaylistError(f"segment {line} without #EXTINF")
            segments.append(Segment(sequence + len(segments), line, duration, discontinuity))
            duration, discontinuity = None, False
    return Playlist(sequence, target, ended, segments)


def fetch(url: str, timeout_s: float = 5.0) -> bytes:
    """The body of a URL; every failure is an `OSError`."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        with error:
            raise ConnectionError(f"{url}: HTTP {error.code}") from None
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url}: {error!r}") from None


@dataclass
class Watcher:
    """Polls a live playlist from a thread, as a player does; a relay that is away for a moment is no error.

    With a `folder`, each segment is kept there as it appears, under its sequence number.
    """

    url: str
    folder: Path | None = None
    poll_s: float = 0.2
    newest: int = -1
    newest_at: float = 0.0
    steps_back: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    longest_pause_s: float = 0.0
    discontinuities: set[int] = field(default_factory=set)
    kept: dict[int, Path] = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self) -> None:
        self._end = threading.Event()
        self._first = -1
        self._thread = threading.Thread(target=self._run, name="hls-watcher", daemon=True)

    def start(self) -> "Watcher":
        """Start polling."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop polling."""
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(self.poll_s):
            try:
                self._look(parse(fetch(self.url).decode()))
            except OSError:
                continue
            except ValueError as error:
                self.complaints.append(str(error))

    def _look(self, playlist: Playlist) -> None:
        now = time.monotonic()
        if playlist.media_sequence < self._first:
            self.steps_back.append(f"media sequence {self._first} → {playlist.media_sequence}")
        last = playlist.segments[-1].sequence if playlist.segments else playlist.media_sequence - 1
        if last < self.newest:
            self.steps_back.append(f"newest segment {self.newest} → {last}")
        self._first = playlist.media_sequence
        self.discontinuities |= {s.sequence for s in playlist.segments if s.discontinuity}
        self.ended = playlist.ended
        if last > self.newest:
            if self.newest >= 0:
                self.longest_pause_s = max(self.longest_pause_s, now - self.newest_at)
            self.newest, self.newest_at = last, now
        if self.folder:
            self._keep(playlist)

    def _keep(self, playlist: Playlist) -> None:
        for segment in playlist.segments:
            if segment.sequence not in self.kept:
                path = self.folder / f"{segment.sequence:08}.ts"
                path.write_bytes(fetch(urllib.parse.urljoin(self.url, segment.uri)))
                self.kept[segment.sequence] = path
