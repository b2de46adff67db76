"""Are the frames at the viewer those that the encoder made? By count, by checksum of each decoded frame, by SSIM."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Comparison:
    """What arrived, held against the encoder's own output."""

    encoder_frames: int
    viewer_frames: int
    before: int
    after: int
    different: int
    ssim: float

    @property
    def same(self) -> bool:
        """Every frame between the viewer's first and last is there once, in order, and unchanged."""
        return self.viewer_frames > 0 and self.different == 0 and self.ssim > 0.9999


def frame_checksums(path: Path) -> list[str]:
    """A checksum of each decoded video frame, in order."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-i", str(path)]
    command += ["-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framemd5", "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.rsplit(",", 1)[1].strip() for line in text.splitlines() if line and not line.startswith("#")]


def compare(encoder: Path, viewer: Path) -> Comparison:
    """Hold two recordings of one stream against each other."""
    made, got = frame_checksums(encoder), frame_checksums(viewer)
    start = _best_start(made, got)
    part = made[start : start + len(got)]
    different = sum(a != b for a, b in zip(part, got, strict=False)) + len(got) - len(part)
    ssim = _ssim(encoder, viewer, start, len(part)) if part else 0.0
    return Comparison(len(made), len(got), start, len(made) - start - len(part), different, ssim)


def _best_start(made: list[str], got: list[str]) -> int:
    """Where in the encoder's output the viewer's first frames are; frames can be alike, so the longest match wins."""

    def matched(start: int) -> int:
        return sum(a == b for a, b in zip(made[start:], got, strict=False))

    candidates = [index for index, checksum in enumerate(made) if got and checksum == got[0]]
    return max(candidates, key=matched, default=0)


def _ssim(encoder: Path, viewer: Path, start: int, count: int) -> float:
    """Structural similarity of the frames that correspond, 0 to 1."""
    graph = (
        f"[0:v]trim=end_frame={count},setpts=N/30/TB[a];"
        f"[1:v]trim=start_frame={start}:end_frame={start + count},setpts=N/30/TB[b];[a][b]ssim"
    )
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-i", str(viewer), "-i", str(encoder), "-lavfi", graph]
    text = subprocess.run([*command, "-f", "null", "-"], check=True, capture_output=True, text=True).stderr
    found = re.findall(r"SSIM .*All:([\d.]+)", text)
    return float(found[-1]) if found else 0.0


def join(segments: dict[int, Path], into: Path) -> Path:
    """Kept segments in order, as one MPEG-TS; a missing one is an error."""
    numbers = sorted(segments)
    missing = sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)) if numbers else []
    if missing or not numbers:
        raise FileNotFoundError(f"segments {missing} of {numbers[:1]}…{numbers[-1:]} are missing")
    with into.open("wb") as out:
        for number in numbers:
            out.write(segments[number].read_bytes())
    return into
