"""The demo without a person: a real player watches for a while, and everything is measured.

Owns the order of the measurements and the bars (lines 1, 2 and 11 of the issue "The way through").
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from . import compare, hls, processes, viewer
from .api import PageTimes
from .baseline import BareLines, Cpu
from .netem import Emulator
from .report import Report
from .stack import Live, Stack
from .waiting import wait_for

SETTLE_S = 5.0
FIRST_PICTURE_S = 5.0
AGENT_IDLE_MB, RELAY_IDLE_MB, WORKER_MB = 25.0, 40.0, 40.0
CPU_RATIO = 1.15
PAGE_MS = 50.0
CPU_ROUNDS, CPU_WINDOW_S = 2, 8.0


@dataclass
class Check:
    """One check run on a stack whose device is online."""

    stack: Stack
    source_words: str
    duration_s: float
    say: Callable[[str], None]
    report: Report = field(default_factory=Report)

    def run(self) -> Report:
        """Measure everything; the report says what held."""
        self._idle()
        source = self.stack.source(self.source_words)
        is_file = source["kind"] == "file"
        live = self.stack.go_live(source, record_locally=is_file)
        self.say("Asked for the stream; waiting for its first picture")
        watcher = self._keep_segments(live) if is_file else None
        watching = self._first_picture(live, source["kind"] == "test_pattern")
        stream = self._watch(live, watching)
        self._pages(live)
        self._truth(stream)
        if watcher:
            self.stack.stop_stream(live)
            self._same_frames(watcher)
        else:
            self._processor(live, source)
        return self.report

    def _idle(self) -> None:
        # An allocator gives memory back late: the largest of several looks counts.
        looks = [self._resident() for _ in range(5) if time.sleep(0.4) is None]
        self.report.heading("Idle, before going live")
        agent, relay = (max(look[part] for look in looks) for part in (0, 1))
        self.report.at_most("agent, resident", agent, AGENT_IDLE_MB, "MB")
        self.report.at_most("relay, resident", relay, RELAY_IDLE_MB, "MB")
        self.say(f"Idle: agent {agent:.1f} MB, relay {relay:.1f} MB")

    def _resident(self) -> tuple[float, float]:
        return processes.resident_mb(self.stack.agent.pid), processes.resident_mb(self.stack.relay.pid)

    def _keep_segments(self, live: Live) -> hls.Watcher:
        folder = self.stack.folder / "segments"
        folder.mkdir(exist_ok=True)
        return hls.Watcher(live.playlist, folder).start()

    def _first_picture(self, live: Live, has_strip: bool) -> viewer.Viewer:
        def listed() -> bool:
            return self._not_over(live) and bool(self.stack.playlist(live).segments)

        try:
            wait_for("the first HLS segment", listed, 30, every_s=0.05)
            width = self.stack.stream(live)["settings"]["width"] if has_strip else None
            watching = viewer.Viewer(live.playlist, self.stack.folder / "viewer.log", width).start()
            wait_for("the viewer's first picture", lambda: watching.seen.first_picture_at, 30, every_s=0.02)
        except Exception:
            self.say(self.stack.logs(live))
            raise
        taken = watching.seen.first_picture_at - live.asked_at
        self.report.heading("The viewer: ffmpeg, playing HLS")
        self.report.at_most("go live → first picture", taken, FIRST_PICTURE_S, "s")
        self.say(f"First picture at the viewer {taken:.1f} s after going live; watching for {self.duration_s:g} s")
        return watching

    def _not_over(self, live: Live) -> bool:
        stream = self.stack.stream(live)
        if stream["state"] in ("ended", "failed"):
            raise RuntimeError(f"the stream is over: {stream['reason']}: {stream['detail']}")
        return True

    def _watch(self, live: Live, watching: viewer.Viewer) -> dict:
        end = time.monotonic() + self.duration_s
        worker, encoder, said = 0.0, 0.0, 0.0
        stream = self.stack.stream(live)
        while time.monotonic() < end and not watching.ended():
            time.sleep(0.5)
            stream = self.stack.stream(live)
            worker = max(worker, processes.resident_mb(self.stack.pid_of("strata-egress")))
            encoder = max(encoder, processes.resident_mb(self.stack.pid_of("strata-encoder")))
            if time.monotonic() - said > 5:
                said = time.monotonic()
                self.say(f"{watching.frames_so_far} frames seen; {numbers_line(stream)}")
        result = viewer.judge(watching.stop(), SETTLE_S, self._player_buffer_s(live))
        self._judged(result, stream)
        self.report.heading("While live")
        self.report.at_most("worker, resident", worker, WORKER_MB, "MB")
        self.report.tell("encoder, resident", f"{encoder:.1f} MB")
        return stream

    def _player_buffer_s(self, live: Live) -> float:
        return float(viewer.PLAYER_BUFFER_SEGMENTS * self.stack.playlist(live).target_duration_s)

    def _judged(self, seen: viewer.Judgement, stream: dict) -> None:
        report, is_pattern = self.report, bool(seen.latency_ms)
        rate = stream["settings"]["frame_rate"]
        fps = rate["numerator"] / rate["denominator"]
        enough = max(1.0, self.duration_s - 3.0)
        report.must("video", f"{seen.frames} frames, {seen.seconds:.1f} s", f"≥ {enough:g} s", seen.seconds >= enough)
        if self.source_words.startswith("file:"):
            report.tell("frames per second", f"{seen.fps:.2f}")
        else:
            report.must("frames per second", f"{seen.fps:.2f}", f"{fps:g} ± 2 %", abs(seen.fps / fps - 1) < 0.02)
        moving = 0.1 if self.source_words.startswith("file:") else 0.9
        report.must("pictures that differ", f"{seen.moving_share:.0%}", f"≥ {moving:.0%}", seen.moving_share >= moving)
        report.must("audio", f"{seen.audio_seconds:.1f} s", f"≥ {enough:g} s", seen.audio_seconds >= enough)
        # A film may be quiet for a while; the pattern's tone never is.
        quiet = 0.95 if self.source_words.startswith("file:") else 0.0
        report.must("silent part", f"{seen.silent_share:.0%}", f"≤ {quiet:.0%}", seen.silent_share <= quiet)
        for name, found in (
            ("video gaps > 200 ms", seen.video_gaps),
            ("audio gaps > 200 ms", seen.audio_gaps),
            ("player stalls > 200 ms", seen.stalls),
        ):
            report.must(name, "; ".join(found[:3]) or "none", f"none after {SETTLE_S:g} s", not found)
        if is_pattern:
            report.must("frames lost (strip)", str(seen.frames_lost), "0", seen.frames_lost == 0)
            report.tell("frames repeated, unreadable", f"{seen.frames_repeated}, {seen.frames_without_strip}")
            parts = [viewer.percentile(seen.latency_ms, share) / 1000 for share in (0.5, 0.95)]
            report.tell(
                "end-to-end latency p50, p95, max",
                f"{parts[0]:.2f}, {parts[1]:.2f}, {seen.latency_ms[-1] / 1000:.2f} s",
            )

    def _truth(self, stream: dict) -> None:
        report = self.report
        report.heading("Transport, as relay and device count it")
        worker = (stream["live"] or {}).get("worker")
        if not worker:
            report.must("receiver's counters", "none", "there", False)
            return
        truth = worker["value"]["receiver"]
        report.must(
            "lost after repair", f"{truth['lost']} of {truth['delivered'] + truth['lost']}", "0", not truth["lost"]
        )
        report.tell("saved by repeats", str(truth["recovered"]))
        for link in (stream["live"].get("stats") or {"value": {"links": []}})["value"]["links"]:
            lost = 100 * link["lost_packets"] / max(1, link["sent_packets"])
            report.tell(
                f"link {link['interface']}",
                f"{link['bitrate_bps'] / 1e6:.2f} Mbit/s, {link['rtt_ms']:.0f} ms, {lost:.1f} % lost before repair",
            )

    def _pages(self, live: Live) -> None:
        stack = self.stack
        times = PageTimes(stack.api.host, stack.port, stack.email, stack.password)
        self.report.heading("Pages, median (best, worst) of 20 requests")
        for name, path in (
            ("fleet", "/"),
            ("device", f"/devices/{stack.device_id}"),
            ("go live", f"/devices/{stack.device_id}/live"),
            ("stream", f"/streams/{live.stream_id}"),
            ("streams", "/streams"),
            ("player", f"/play/{live.play_key}"),
        ):
            taken = times.measure(path)
            middle = taken[len(taken) // 2]
            text = f"{middle:.1f} ({taken[0]:.1f}, {taken[-1]:.1f}) ms"
            self.report.must(f"page {name}", text, f"≤ {PAGE_MS:g} ms", middle <= PAGE_MS)
        times.close()

    def _processor(self, live: Live, source: dict) -> None:
        """Ours and the bare lines in turn, nothing else running; twice, so that a slow moment hits all."""
        settings = self.stack.stream(live)["settings"]
        with Emulator(self.stack.emulator_socket(live)) as emulator:
            shapes = [link["shape"] for link in emulator.shapes()]
        ours, bonded, plain = Cpu(), Cpu(), Cpu()
        for number in range(CPU_ROUNDS):
            self.say(f"Processor time: strata, then bare gst-launch-1.0 (round {number + 1} of {CPU_ROUNDS})")
            if number > 0:
                live = self.stack.go_live(source)
                self.stack.wait_until_live(live)
                wait_for("segments", lambda at=live: self.stack.playlist(at).segments, 30)
            ours.add(self.stack.pid_of("strata-encoder"), self.stack.pid_of("strata-egress"), CPU_WINDOW_S)
            self.stack.stop_stream(live)
            for name, links, into in (("bonded", shapes, bonded), ("plain", [], plain)):
                folder = self.stack.folder / f"bare-{name}-{number}"
                with BareLines(settings, folder, self.stack.programs, links) as lines:
                    lines.measure(into, CPU_WINDOW_S)
        self.report.heading("Processor time in shares of one core, against bare gst-launch-1.0 in the same run")
        for part in ("encoder", "worker"):
            self._ratio(f"{part} ÷ bare, same work", ours, bonded, part, has_bar=True)
            self._ratio(f"{part} ÷ bare, plain UDP", ours, plain, part, has_bar=False)

    def _ratio(self, name: str, ours: Cpu, other: Cpu, part: str, *, has_bar: bool) -> None:
        share, bare = getattr(ours, part) / ours.seconds, getattr(other, part) / other.seconds
        text = f"{share:.1%} ÷ {bare:.1%} = {share / max(bare, 1e-6):.2f}"
        if has_bar:
            self.report.must(name, text, f"≤ {CPU_RATIO}", share <= CPU_RATIO * bare)
        else:
            self.report.tell(name, text)

    def _same_frames(self, watcher: hls.Watcher) -> None:
        wait_for("the end of the playlist", lambda: watcher.ended, 20)
        watcher.stop()
        self.say("Comparing the frames at the viewer with the encoder's own output")
        recordings = sorted(self.stack.media.rglob("*.ts"), key=lambda path: path.stat().st_mtime)
        self.report.heading("The same frames? Encoder's recording against the segments a viewer got")
        if not recordings:
            self.report.must("encoder's recording", "none", "there", False)
            return
        got = compare.join(watcher.kept, self.stack.folder / "viewer.ts")
        found = compare.compare(recordings[-1], got)
        self.report.tell("frames made, seen", f"{found.encoder_frames}, {found.viewer_frames}")
        self.report.must(
            "not seen before, after", f"{found.before}, {found.after}", "0, 0", not found.before + found.after
        )
        self.report.must("missing or changed between", str(found.different), "0", found.different == 0)
        self.report.must("SSIM", f"{found.ssim:.6f}", "1", found.ssim > 0.9999)


def numbers_line(stream: dict) -> str:
    """A stream's numbers now, in one line."""
    live = stream["live"] or {}
    worker = (live.get("worker") or {}).get("value")
    stats = (live.get("stats") or {}).get("value")
    parts = [stream["state"]]
    if worker:
        parts.append(f"{worker['input_bps'] / 1e6:.1f} Mbit/s, {worker['receiver']['lost']} lost")
    for link in stats["links"] if stats else []:
        parts.append(
            f"{link['interface']} {link['state']} {link['bitrate_bps'] / 1e6:.1f} Mbit/s {link['rtt_ms']:.0f} ms"
        )
    return " | ".join(parts)
