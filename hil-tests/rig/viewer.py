"""A viewer: a real ffmpeg that plays the HLS address over HTTP, and what it got to see and hear.

Of each decoded video frame it keeps the timecode strip, the timestamp and when it was there; of the sound the
timestamps and the loudness. Owns the judgement of continuity; knows nothing of devices and relays.
"""

import array
import itertools
import math
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import strip

GAP_S = 0.2
AUDIO_RATE = 8000
SILENCE_RMS = 60
PLAYER_BUFFER_SEGMENTS = 3


@dataclass(frozen=True)
class Frame:
    """A decoded video frame."""

    pts_s: float
    seen_at: float
    timecode: strip.Timecode | None
    checksum: str


@dataclass
class Seen:
    """Everything a viewer got."""

    frames: list[Frame] = field(default_factory=list)
    audio_pts_s: list[float] = field(default_factory=list)
    loudness: list[float] = field(default_factory=list)
    first_picture_at: float = 0.0
    complaints: str = ""


class Viewer:
    """One ffmpeg and the three threads that read its pipes."""

    def __init__(self, url: str, log: Path, width: int | None) -> None:
        self._url = url
        self._log = log
        self._side = strip.cell_side(width) if width else 0
        self._rows: list[tuple[float, bytes]] = []
        self._stamps: list[tuple[int, float, str]] = []
        self.seen = Seen()

    def start(self) -> "Viewer":
        """Start playing at the live edge."""
        stamps_read, stamps_write = os.pipe()
        sound_read, sound_write = os.pipe()
        with self._log.open("wb") as log:
            self._ffmpeg = subprocess.Popen(
                self._command(stamps_write, sound_write),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(stamps_write, sound_write),
            )
        os.close(stamps_write)
        os.close(sound_write)
        self._threads = [
            threading.Thread(target=self._read_rows, args=(self._ffmpeg.stdout,), daemon=True),
            threading.Thread(target=self._read_stamps, args=(os.fdopen(stamps_read),), daemon=True),
            threading.Thread(target=self._read_sound, args=(os.fdopen(sound_read, "rb"),), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def _command(self, stamps: int, sound: int) -> list[str]:
        row = strip.CELLS * self._side or 16
        height = self._side // 2
        split = (
            f"[0:v]split[a][b];[a]extractplanes=y,crop={row}:1:0:{height}[row];[b]scale=160:90:flags=neighbor[stamp]"
        )
        return [
            *("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "warning", "-copyts", "-threads", "2"),
            *("-analyzeduration", "500000", "-probesize", "500000", "-live_start_index", "-1", "-i", self._url),
            *("-filter_complex", split),
            *("-map", "[row]", "-fps_mode", "passthrough", "-flush_packets", "1", "-f", "rawvideo", "pipe:1"),
            *("-map", "[stamp]", "-map", "0:a", "-fps_mode", "passthrough", "-flush_packets", "1"),
            *("-f", "framecrc", f"pipe:{stamps}"),
            *("-map", "0:a", "-ac", "1", "-ar", str(AUDIO_RATE), "-flush_packets", "1", "-f", "s16le", f"pipe:{sound}"),
        ]

    def _read_rows(self, pipe) -> None:
        size = strip.CELLS * self._side or 16
        while len(row := pipe.read(size)) == size:
            if not self._rows:
                self.seen.first_picture_at = time.monotonic()
            self._rows.append((time.time(), row))

    def _read_stamps(self, pipe) -> None:
        bases = {0: 1.0, 1: 1.0}
        with pipe:
            for line in pipe:
                if line.startswith("#tb "):
                    number, _, base = line[4:].partition(":")
                    top, _, bottom = base.strip().partition("/")
                    bases[int(number)] = int(top) / int(bottom)
                elif not line.startswith("#"):
                    stream, _dts, pts, _duration, _size, checksum = (part.strip() for part in line.split(",")[:6])
                    self._stamps.append((int(stream), int(pts) * bases[int(stream)], checksum))

    def _read_sound(self, pipe) -> None:
        with pipe:
            while len(chunk := pipe.read(AUDIO_RATE // 10 * 2)) == AUDIO_RATE // 10 * 2:
                samples = array.array("h", chunk)
                self.seen.loudness.append(math.sqrt(sum(s * s for s in samples) / len(samples)))

    @property
    def frames_so_far(self) -> int:
        """Frames decoded until now."""
        return len(self._rows)

    @property
    def latency_now_ms(self) -> float | None:
        """End-to-end latency of the newest frame; none without a strip."""
        if not self._rows or not self._side:
            return None
        at, row = self._rows[-1]
        code = strip.read_row(row, self._side)
        return at * 1000 - code.made_at_ms if code else None

    def ended(self) -> bool:
        """Whether ffmpeg has ended by itself."""
        return self._ffmpeg.poll() is not None

    def stop(self) -> Seen:
        """End ffmpeg, and what it saw."""
        if self._ffmpeg.poll() is None:
            self._ffmpeg.terminate()
        try:
            self._ffmpeg.wait(10)
        except subprocess.TimeoutExpired:
            self._ffmpeg.kill()
            self._ffmpeg.wait()
        for thread in self._threads:
            thread.join()
        self._ffmpeg.stdout.close()
        video = [(pts, checksum) for number, pts, checksum in self._stamps if number == 0]
        for (pts, checksum), (at, row) in zip(video, self._rows, strict=False):
            code = strip.read_row(row, self._side) if self._side else None
            self.seen.frames.append(Frame(pts, at, code, checksum))
        self.seen.audio_pts_s = [pts for number, pts, _ in self._stamps if number == 1]
        self.seen.complaints = self._log.read_text(errors="replace")
        return self.seen


@dataclass
class Judgement:
    """The continuity of what a viewer got. Gaps count from `settle_s` on; every number says what it measures."""

    frames: int = 0
    seconds: float = 0.0
    fps: float = 0.0
    video_gaps: list[str] = field(default_factory=list)
    audio_gaps: list[str] = field(default_factory=list)
    stalls: list[str] = field(default_factory=list)
    moving_share: float = 0.0
    frames_without_strip: int = 0
    frames_lost: int = 0
    frames_repeated: int = 0
    latency_ms: list[float] = field(default_factory=list)
    audio_seconds: float = 0.0
    silent_share: float = 1.0


def judge(seen: Seen, settle_s: float, buffer_s: float) -> Judgement:
    """Judge continuity; `buffer_s` is what a player holds before it starts to play."""
    result = Judgement(frames=len(seen.frames))
    if len(seen.frames) < 2:
        return result
    start = seen.frames[0].pts_s
    result.seconds = seen.frames[-1].pts_s - start
    result.fps = (len(seen.frames) - 1) / result.seconds if result.seconds > 0 else 0.0
    result.video_gaps = _gaps([f.pts_s for f in seen.frames], start + settle_s)
    result.audio_gaps = _gaps(seen.audio_pts_s, start + settle_s)
    result.stalls = _stalls(seen.frames, settle_s, buffer_s)
    moves = sum(before.checksum != after.checksum for before, after in itertools.pairwise(seen.frames))
    result.moving_share = moves / (len(seen.frames) - 1)
    result.frames_without_strip = sum(f.timecode is None for f in seen.frames)
    _count_frames(seen.frames, result)
    result.latency_ms = sorted(f.seen_at * 1000 - f.timecode.made_at_ms for f in seen.frames if f.timecode)
    if seen.audio_pts_s:
        result.audio_seconds = seen.audio_pts_s[-1] - seen.audio_pts_s[0]
    if seen.loudness:
        result.silent_share = sum(level < SILENCE_RMS for level in seen.loudness) / len(seen.loudness)
    return result


def _count_frames(frames: list[Frame], result: Judgement) -> None:
    """Lost and repeated frames by the strip's counter. A frame that came with an unreadable strip is not lost."""
    last, unreadable = None, 0
    for code in (frame.timecode for frame in frames):
        if code is None:
            unreadable += 1
            continue
        if last is not None:
            step = (code.counter - last.counter) % strip.COUNTER_MODULUS
            result.frames_repeated += step == 0
            result.frames_lost += max(0, step - 1 - unreadable)
        last, unreadable = code, 0


def _gaps(stamps: list[float], after: float) -> list[str]:
    """Steps of more than `GAP_S`, and steps back."""
    found = []
    for before, now in itertools.pairwise(stamps):
        if now >= after and not 0 <= now - before <= GAP_S:
            found.append(f"{(now - before) * 1000:+.0f} ms at {now - stamps[0]:.1f} s")
    return found


def _stalls(frames: list[Frame], settle_s: float, buffer_s: float) -> list[str]:
    """Where a player that holds `buffer_s` of media would have stood still for more than `GAP_S`."""
    found = []
    begin = frames[0].seen_at - frames[0].pts_s + buffer_s
    for frame in frames:
        late = frame.seen_at - (begin + frame.pts_s)
        if late > GAP_S:
            if frame.pts_s - frames[0].pts_s >= settle_s:
                found.append(f"{late * 1000:.0f} ms at {frame.pts_s - frames[0].pts_s:.1f} s")
            begin += late
    return found


def percentile(ordered: list[float], share: float) -> float:
    """A percentile of a sorted list (nearest rank); 0 of nothing."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
