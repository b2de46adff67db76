"""Relay and simulated device on this machine: started, enrolled, live, faulted, ended.

Owns where things lie (one folder per run, sockets in a short one of their own) and the order of the steps.
Does not judge what it sees; `check` and the tests do.
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from . import hls, processes
from .api import Api
from .processes import ProcessInfo, Service
from .waiting import TimedOut, wait_for

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("strata-relay", "strata-egress", "strata-agent", "strata-encoder", "strata-netem")
OVER = ("ended", "failed")


class StepFailed(Exception):
    """A step of starting the whole failed: which, why, and the end of the log in question."""


def programs_folder(programs: tuple[str, ...] = PROGRAMS) -> Path:
    """Where the release build is, with these programs."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    folder = Path(os.environ.get("STRATA_PROGRAMS") or ROOT / target / "release")
    missing = [name for name in programs if not (folder / name).is_file()]
    if missing:
        raise StepFailed(f"{', '.join(missing)} not in {folder}: run `cargo build --release --locked --workspace`")
    return folder


def enrolment_link(relay: str, token: str) -> str:
    """The text of the QR code on the relay's page with a token."""
    return f"http://10.42.0.1/relay?relay={quote(relay, safe='')}&enrolment={token}"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM, start: int = 0, count: int = 1) -> int:
    """A port of loopback that nobody uses now; with `start`, the first of `count` free ones in a row."""
    first = start
    while True:
        held: list[socket.socket] = []
        try:
            for port in range(first, first + count):
                held.append(socket.socket(socket.AF_INET, kind))
                held[-1].bind(("127.0.0.1", port))
            return held[0].getsockname()[1]
        except OSError:
            if not start:
                raise
            first += count
        finally:
            for each in held:
                each.close()


@dataclass(frozen=True)
class Live:
    """A stream that was asked for."""

    stream_id: str
    play_key: str
    asked_at: float
    playlist: str


@dataclass
class Stack:
    """One relay, one simulated device, one admin."""

    folder: Path
    port: int = 0
    say: Callable[[str], None] = lambda text: None
    email: str = "admin@strata.example"
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    agent_relay_port: int = 0
    relay_env: dict[str, str] = field(default_factory=dict)
    agent_env: dict[str, str] = field(default_factory=dict)
    device_id: str = ""

    def __post_init__(self) -> None:
        self.programs = programs_folder()
        self.data = self.folder / "relay"
        self.device = self.folder / "device"
        self.media = self.device / "media"
        # Paths of Unix sockets are at most 107 bytes long.
        self.run = Path(tempfile.mkdtemp(prefix="strata-"))
        self.port = self.port or free_port()
        self.api = Api("127.0.0.1", self.port)
        first = free_port(socket.SOCK_DGRAM, start=15000 + os.getpid() % 800 * 20, count=20)
        self.worker_ports = range(first, first + 20)
        self.relay = Service("relay", self._relay_command(), self.folder / "relay.log", self.relay_env)
        self.agent = Service("agent", self._agent_command(), self.folder / "agent.log", self.agent_env)
        self._reaper = processes.OrphanReaper([self.relay, self.agent])

    # --- starting ---------------------------------------------------------------------------------------------------

    def _relay_command(self) -> list[str]:
        ports = self.worker_ports
        return [
            *(str(self.programs / "strata-relay"), "serve", "--data", str(self.data)),
            *("--listen", f"127.0.0.1:{self.port}", "--run-dir", str(self.run / "relay")),
            *("--log-dir", str(self.folder / "logs"), "--worker-ports", f"{ports[0]}-{ports[-1]}"),
        ]

    def _agent_command(self) -> list[str]:
        return [str(self.programs / "strata-agent"), "--config", str(self.device / "strata-agent.toml"), "--simulate"]

    def start(self) -> "Stack":
        """From nothing to a device that is online."""
        self.start_without_device()
        if not self.device_id:
            self._make_device()
        self.write_agent_config()
        self.start_agent()
        return self

    def start_without_device(self) -> None:
        """The relay, answering, its first admin logged in."""
        processes.become_subreaper()
        for folder in (self.data, self.media, self.folder / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        self._reaper.start()
        if not self.device_id:
            self._add_admin()
        self.relay.start()
        self._step("the relay answers", lambda: self.api.raw("GET", "/readyz")[0] == 200, 30, self.relay)
        self.say(f"Relay runs at {self.api.base}")
        self.api.log_in(self.email, self.password)
        self.say(f"First admin {self.email} logged in")

    def _add_admin(self) -> None:
        command = [*self._relay_command()[:1], "user", "add", "--data", str(self.data), "--email", self.email]
        command += ["--role", "admin", "--owner", "demo", "--password-stdin"]
        done = subprocess.run(command, input=self.password, text=True, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise StepFailed(f"the first admin could not be made:\n{done.stdout}{done.stderr}")

    def _make_device(self) -> None:
        created = self.api.post("/api/devices", {"name": "Simulated device"})
        self.device_id = created["id"]
        self.hand_over_token(created["token"])
        self.say("Device created; its enrolment token handed to the agent")

    def hand_over_token(self, token: str) -> None:
        """Put an enrolment token where the agent finds it."""
        self.token_file.parent.mkdir(parents=True, exist_ok=True)
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(token)

    def start_agent(self) -> None:
        """The agent, until its device is online and told what it has."""
        self.agent.start()
        self._step("the device is enrolled and online", self.is_online, 30, self.agent)
        self._step("the device told what it has", lambda: (self.status() or {}).get("media_inputs"), 30, self.agent)
        links = ", ".join(i["name"] for i in self.status()["interfaces"] if i["state"] == "connected")
        self.say(f"Device is enrolled and online; links: {links}")

    @property
    def token_file(self) -> Path:
        """Where the agent finds its enrolment token."""
        return self.device / "enrolment-token"

    def write_agent_config(self, **more: object) -> None:
        """The agent's TOML file."""
        values = {
            "relay_url": f"ws://127.0.0.1:{self.agent_relay_port or self.port}",
            "state_dir": str(self.device),
            "run_dir": str(self.run / "device"),
            "log_dir": str(self.folder / "logs"),
            "media_dir": str(self.media),
            **more,
        }
        lines = (
            f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}" for key, value in values.items()
        )
        (self.device / "strata-agent.toml").write_text("\n".join(lines) + "\n")

    def _step(self, what: str, probe: Callable[[], object], limit_s: float, service: Service):
        def watched() -> object:
            if service.gave_up:
                raise StepFailed(f"{what}: the {service.name} ends again and again ({service.exits[-1]})")
            return probe()

        try:
            return wait_for(what, watched, limit_s)
        except (TimedOut, StepFailed) as error:
            raise StepFailed(f"{error}\nEnd of {service.log}:\n{service.log_tail()}") from error

    # --- streams ----------------------------------------------------------------------------------------------------

    def status(self) -> dict:
        """The device's last status."""
        return self.api.get(f"/api/devices/{self.device_id}/status")["status"]

    def is_online(self) -> bool:
        """Whether the device's control connection is open."""
        return self.api.get(f"/api/devices/{self.device_id}")["online"]

    def source(self, words: str) -> dict:
        """A source as people name it: `test-pattern`, `simulated-camera` or `file:PATH`."""
        kind, _, rest = words.partition(":")
        if kind == "test-pattern":
            return {"kind": "test_pattern"}
        if kind == "simulated-camera":
            inputs = [i["id"] for i in self.status()["media_inputs"] if i["id"].startswith("simulated:")]
            if not inputs:
                raise StepFailed("the device offers no simulated camera")
            return {"kind": "camera", "input": inputs[0]}
        if kind == "file" and rest:
            return {"kind": "file", "path": str(self._on_device(Path(rest)))}
        raise StepFailed(f"source “{words}”: test-pattern, simulated-camera or file:PATH expected")

    def _on_device(self, path: Path) -> Path:
        """Puts a file where the device keeps its media, as a person would copy it there."""
        kept = self.media / path.name
        try:
            if path != kept:
                shutil.copyfile(path, kept)
        except OSError as error:
            raise StepFailed(f"cannot read the source file {path}: {error.strerror}") from error
        self._step(f"the device offers {path.name}", lambda: self._offers(kept), 60, self.agent)
        return kept

    def _offers(self, path: Path) -> bool:
        return str(path) in [media["path"] for media in self.status()["saved_media"]]

    def go_live(self, source: dict, **more: object) -> Live:
        """Ask for a stream; comes back as soon as the relay took it."""
        asked_at = time.monotonic()
        stream = self.api.post(f"/api/devices/{self.device_id}/stream/start", {"source": source, **more})
        return Live(stream["id"], stream["play_key"], asked_at, self.api.base + stream["hls_url"])

    def playlist(self, live: Live) -> hls.Playlist:
        """The stream's playlist as a player gets it now."""
        return hls.parse(hls.fetch(live.playlist).decode())

    def stream(self, live: Live) -> dict:
        """What the relay says of a stream now."""
        return self.api.get(f"/api/streams/{live.stream_id}")

    def wait_until_live(self, live: Live, limit_s: float = 30) -> dict:
        """Wait until media arrives; a stream that ended instead says why."""

        def probe() -> dict | None:
            stream = self.stream(live)
            if stream["state"] in OVER:
                raise StepFailed(f"the stream is over: {stream['reason']}: {stream['detail']}\n" + self.logs(live))
            return stream if stream["state"] == "live" else None

        try:
            return wait_for("the stream is live", probe, limit_s)
        except TimedOut as error:
            raise StepFailed(f"{error}\n{self.logs(live)}") from error

    def stop_stream(self, live: Live, limit_s: float = 30) -> dict:
        """Stop as a person does, and wait until it is over and its processes are gone."""
        if self.stream(live)["state"] not in OVER:
            self.api.post(f"/api/streams/{live.stream_id}/stop")
        ended = wait_for("the stream is over", lambda: self.over(live), limit_s)
        wait_for("its processes are gone", lambda: not self.stream_processes(), limit_s)
        return ended

    def over(self, live: Live) -> dict | None:
        """The stream, once it has ended."""
        stream = self.stream(live)
        return stream if stream["state"] in OVER else None

    def events(self, live: Live) -> list[dict]:
        """The stream's timeline."""
        return self.api.get(f"/api/streams/{live.stream_id}/events")["events"]

    def logs(self, live: Live, lines: int = 12) -> str:
        """The ends of all logs that tell of a stream."""
        own = sorted((self.folder / "logs").glob(f"*{live.stream_id}*"))
        return "\n".join(f"End of {p}:\n{processes.tail(p, lines)}" for p in [*own, self.agent.log, self.relay.log])

    # --- processes --------------------------------------------------------------------------------------------------

    def own_processes(self) -> list[ProcessInfo]:
        """Every process of this stack that runs, also those whose parent was killed: their output goes to its logs."""
        folder = str(self.folder.resolve())
        return [p for p in processes.strata_processes() if processes.output_of(p.pid).startswith(folder)]

    def stream_processes(self, name: str = "") -> list[ProcessInfo]:
        """Encoders, workers and emulators of this stack."""
        own = (self.relay.pid, self.agent.pid)
        return [p for p in self.own_processes() if p.pid not in own and p.name.startswith(name)]

    def pid_of(self, name: str) -> int:
        """The one process of this name."""
        return wait_for(f"one {name}", lambda: self.stream_processes(name)[:1], 15)[0].pid

    def emulator_socket(self, live: Live) -> Path:
        """The control socket of the stream's link emulator."""
        return self.run / "device" / f"netem-{live.stream_id}.sock"

    def stop(self) -> None:
        """End everything; nothing is left, whatever state it was in."""
        self.agent.stop()
        self.relay.stop()
        processes.end_all(self.stream_processes())
        self._reaper.stop()
        self._reaper.collect()
        shutil.rmtree(self.run, ignore_errors=True)
