"""Bare gst-launch-1.0 lines that do the same work as encoder and worker, to hold their processor time against.

The encoder's counterpart draws a moving pattern and a tone, encodes both with the same elements and settings, and
sends the MPEG-TS; the worker's counterpart receives it and writes HLS segments of the same length. They are joined
either by `stratasink` and `stratasrc` over links like the stream's own (the same work), or by plain UDP (less work:
nothing is encrypted, repaired or reordered).
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import processes
from .stack import free_port
from .waiting import wait_for

X264 = (
    "speed-preset=superfast tune=zerolatency bframes=0 b-adapt=false vbv-buf-capacity=1000 aud=true "
    "key-int-max={gop} bitrate={kbps}"
)


@dataclass
class Cpu:
    """Processor seconds of an encoder and a worker, over some windows."""

    encoder: float = 0.0
    worker: float = 0.0
    seconds: float = 0.0

    def add(self, encoder_pid: int, worker_pid: int, window_s: float) -> None:
        """Look at both for a while."""
        begin = time.monotonic()
        before = _cpu(encoder_pid), _cpu(worker_pid)
        time.sleep(window_s)
        self.encoder += _cpu(encoder_pid) - before[0]
        self.worker += _cpu(worker_pid) - before[1]
        self.seconds += time.monotonic() - begin


def _cpu(pid: int) -> float:
    info = processes.read_process(pid)
    if info is None:
        raise ProcessLookupError(f"process {pid} ended while it was measured")
    return info.cpu_s


@dataclass
class BareLines:
    """The two gst-launch-1.0 processes; with `shapes`, and the emulator of the links between them."""

    settings: dict
    folder: Path
    programs: Path
    shapes: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = self.folder / "gst-launch.log"
        self._started: list[subprocess.Popen] = []
        port = free_port(start=17000)
        send, receive = self._bonded(port) if self.shapes else self._plain(port)
        self._worker = self._launch(self._worker_line(receive))
        self._encoder = self._launch(self._encoder_line(send))

    def _plain(self, port: int) -> tuple[str, str]:
        caps = "caps=video/mpegts,systemstream=true,packetsize=188"
        return f"udpsink host=127.0.0.1 port={port} sync=false", f"udpsrc address=127.0.0.1 port={port} {caps}"

    def _bonded(self, port: int) -> tuple[str, str]:
        keys = [self._key(name) for name in ("sender", "receiver")]
        links = ",".join(self._emulator(port))
        latency = f"latency={self.settings['latency_ms']}"
        send = f"stratasink key-file=sender.key peer={keys[1]} links={links} {latency} sync=false async=false"
        return send, f"stratasrc key-file=receiver.key allow={keys[0]} listen=127.0.0.1:{port} {latency}"

    def _key(self, name: str) -> str:
        command = [self.programs / "strata-bond", "keygen", self.folder / f"{name}.key"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def _emulator(self, port: int) -> list[str]:
        """The stream's own links once more; gives their addresses."""
        links = [{"listen": "127.0.0.1:0", "target": f"127.0.0.1:{port}", **shape} for shape in self.shapes]
        command = [self.programs / "strata-netem", "run", "--config", "-"]
        with self._log.open("ab") as log:
            emulator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self._started.append(emulator)
        json.dump({"seed": 1, "links": links}, emulator.stdin)
        emulator.stdin.close()
        return json.loads(emulator.stdout.readline())["links"]

    def _launch(self, line: str) -> subprocess.Popen:
        env = {**os.environ, "GST_PLUGIN_PATH": str(self.programs), "GST_REGISTRY": str(self.folder / "registry.bin")}
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                ["gst-launch-1.0", "-q", *line.split()], stdout=log, stderr=log, env=env, cwd=self.folder
            )
        self._started.append(process)
        return process

    def _encoder_line(self, send: str) -> str:
        settings, rate = self.settings, self.settings["frame_rate"]
        gop = max(1, round(settings["key_frame_interval_ms"] * rate["numerator"] / rate["denominator"] / 1000))
        x264 = X264.format(gop=gop, kbps=settings["bitrate"]["target_bps"] // 1000)
        size = f"width={settings['width']},height={settings['height']}"
        return (
            f"videotestsrc is-live=true pattern=smpte horizontal-speed=2 ! "
            f"video/x-raw,format=I420,{size},framerate={rate['numerator']}/{rate['denominator']} ! "
            f"x264enc {x264} ! h264parse config-interval=-1 ! queue ! mux. "
            f"audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! "
            f"voaacenc bitrate={settings['audio']['bitrate_bps']} ! aacparse ! queue ! mux. "
            f"mpegtsmux name=mux alignment=7 pat-interval=9000 pmt-interval=9000 ! {send}"
        )

    def _worker_line(self, receive: str) -> str:
        seconds = max(1, self.settings["key_frame_interval_ms"] // 1000)
        return (
            f"{receive} ! tsdemux name=demux hlssink2 name=hls target-duration={seconds} playlist-length=6 max-files=8 "
            "location=%05d.ts playlist-location=index.m3u8 "
            f"demux. ! queue ! h264parse ! hls.video demux. ! queue ! aacparse ! hls.audio"
        )

    def measure(self, into: Cpu, window_s: float) -> None:
        """Look at both, once segments appear."""
        into.add(*wait_for("segments of the bare pipeline", self._running, 30), window_s)

    def _running(self) -> tuple[int, int] | None:
        if self._encoder.poll() is not None or self._worker.poll() is not None:
            raise RuntimeError(f"the bare pipeline ended:\n{processes.tail(self._log)}")
        return (self._encoder.pid, self._worker.pid) if len(list(self.folder.glob("*.ts"))) > 1 else None

    def stop(self) -> None:
        """End everything."""
        for process in reversed(self._started):
            process.terminate()
            process.wait()
            if process.stdout:
                process.stdout.close()

    def __enter__(self) -> "BareLines":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
