"""Bad input of every kind: a message that names what was wrong and what to do, no panic, nothing lost."""

import os
import random
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from conftest import complaints, end, fresh_folder, go_live
from rig.api import ApiError
from rig.processes import Service
from rig.stack import Live, Stack
from rig.waiting import wait_for
from rig.websocket import BINARY, WebSocket


def wait_for_log(service: Service, *words: str, limit_s: float = 30) -> str:
    """The line of a log that has all these words."""

    def look() -> str | None:
        lines = service.log.read_text(errors="replace").splitlines() if service.log.exists() else []
        return next((line for line in lines if all(word.lower() in line.lower() for word in words)), None)

    try:
        return wait_for(f"{words} in {service.log}", look, limit_s)
    except Exception as error:
        raise AssertionError(f"{error}\n{service.log_tail()}") from error


class Stranger:
    """Another device's agent, with a token of the test's choice."""

    def __init__(self, stack: Stack, name: str, token: str, **config: object) -> None:
        self.folder = stack.folder / name
        self.folder.mkdir()
        run = stack.run / name
        values = {
            "relay_url": f"ws://127.0.0.1:{stack.port}",
            "state_dir": str(self.folder),
            "run_dir": str(run),
            "log_dir": str(self.folder),
            "media_dir": str(self.folder),
            **config,
        }
        (self.folder / "agent.toml").write_text("".join(f'{key} = "{value}"\n' for key, value in values.items()))
        token_file = self.folder / "enrolment-token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        command = [str(stack.programs / "strata-agent"), "--config", str(self.folder / "agent.toml"), "--simulate"]
        self.service = Service(name, command, self.folder / "agent.log")

    def __enter__(self) -> "Stranger":
        self.service.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.service.stop()
        assert complaints(self.folder) == []


def still_serves(stack: Stack) -> None:
    """Relay and device are as well as before."""
    assert stack.api.raw("GET", "/readyz")[0] == 200
    assert stack.relay.exits == []
    assert stack.agent.exits == []


# --- enrolment ------------------------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused_with_the_remedy(stack: Stack):
    with Stranger(stack, "wrong-token", "Q" * 32) as stranger:
        line = wait_for_log(stranger.service, "token", "relay")
        assert "unknown" in line.lower() or "not" in line.lower(), line
    still_serves(stack)


def test_a_used_token_enrols_nobody_else(stack: Stack):
    created = stack.api.post("/api/devices", {"name": "Enrolled once"})
    with Stranger(stack, "first-use", created["token"]):
        wait_for("enrolment", lambda: stack.api.get(f"/api/devices/{created['id']}")["online"], 30)
    key = stack.api.get(f"/api/devices/{created['id']}")["public_key"]
    with Stranger(stack, "second-use", created["token"]) as stranger:
        wait_for_log(stranger.service, "token", "used")
    assert stack.api.get(f"/api/devices/{created['id']}")["public_key"] == key


def test_an_expired_token_is_refused_with_the_remedy(stack: Stack):
    created = stack.api.post("/api/devices", {"name": "Too late"})
    with closing(sqlite3.connect(next(stack.data.glob("*.db")))) as database, database:
        changed = database.execute("UPDATE enrolment_tokens SET expires_at = 1 WHERE device_id = ?", [created["id"]])
        assert changed.rowcount == 1
    with Stranger(stack, "expired", created["token"]) as stranger:
        wait_for_log(stranger.service, "token", "expired")
    assert not stack.api.get(f"/api/devices/{created['id']}")["enrolled"]


def test_a_wrong_key_is_refused_with_the_remedy(stack: Stack):
    created = stack.api.post("/api/devices", {"name": "Swapped key"})
    with Stranger(stack, "right-key", created["token"]) as first:
        wait_for("enrolment", lambda: stack.api.get(f"/api/devices/{created['id']}")["online"], 30)
    key_file = first.folder / "device.key"
    key_file.unlink()
    subprocess.run([stack.programs / "strata-bond", "keygen", key_file], check=True, capture_output=True)
    with first:
        wait_for_log(first.service, "key")
        wait_for("offline", lambda: not stack.api.get(f"/api/devices/{created['id']}")["online"], 60)


# --- garbage on each socket -----------------------------------------------------------------------------------------


def garbage(size: int) -> bytes:
    """Random bytes, the same each time."""
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize(
    "data",
    [
        garbage(4096),
        b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 200_000 + b"\r\n\r\n",
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["random", "huge header", "huge body", "TLS"],
)
def test_garbage_over_http_is_refused(stack: Stack, data: bytes):
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection, suppress(ConnectionError):
        connection.sendall(data)
        answer = connection.recv(4096)
        assert answer == b"" or answer.split(b" ")[1][:1] == b"4", answer
    still_serves(stack)


@pytest.mark.parametrize("path", ["/api/auth/login", "/api/devices", "/login"])
@pytest.mark.parametrize("body", [b"{", b"[]", b'{"email": 7}', garbage(1000), b"[" * 60_000, b"x" * 1_000_000])
def test_a_body_that_makes_no_sense_is_refused_in_words(stack: Stack, path: str, body: bytes):
    try:
        status, text = stack.api.raw("POST", path, body)
    except ConnectionError:
        # The relay hangs up on a body that is far too large instead of reading it all.
        assert len(body) > 64 * 1024
        return still_serves(stack)
    assert 400 <= status < 500, (status, text)
    if path.startswith("/api"):
        assert '"message"' in text
    still_serves(stack)


@pytest.mark.parametrize(
    "frame",
    [b"not JSON", b"{}", garbage(500), b'{"id": 1}', b"[" * 100_000, b'"' + b"x" * 300_000 + b'"'],
    ids=["no JSON", "empty", "random", "half", "deep", "oversized"],
)
def test_garbage_on_the_agents_socket_is_answered_with_a_reason(stack: Stack, frame: bytes):
    agent = WebSocket("127.0.0.1", stack.port, "/agent/ws")
    with closing(agent), suppress(ConnectionError):
        agent.send(frame)
        answer = agent.receive()
        words = (b"json", b"type", b"field", b"login", b"large", b"long", b"bytes", b"utf-8", b"text", b"read")
        assert any(word in answer[1].lower() for word in words), answer
    still_serves(stack)


def test_a_binary_frame_and_broken_framing_end_only_their_own_connection(stack: Stack):
    for data, raw in ((garbage(100), False), (garbage(5000), True)):
        agent = WebSocket("127.0.0.1", stack.port, "/agent/ws")
        with closing(agent), suppress(ConnectionError):
            if raw:
                agent.send_raw(data)
            else:
                agent.send(data, BINARY)
            agent.receive()
    still_serves(stack)
    assert stack.is_online()


def test_garbage_on_the_media_port_and_the_local_sockets_does_not_disturb_the_stream(stack: Stack, live: Live):
    pids = {p.pid for p in stack.stream_processes()}
    port = stack.stream(live)["port"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
        for size in range(1, 1400, 7):
            attacker.sendto(garbage(size), ("127.0.0.1", port))
    sockets = [path for path in stack.run.rglob("*.sock") if live.stream_id in path.name]
    assert {path.name.split("-")[0] for path in sockets} == {"worker", "encoder", "netem"}
    for path in sockets:
        for data in (garbage(5000) + b"\n", b"{}\n", b'{"command": "fly"}\n', b"x" * 1_000_000):
            with socket.socket(socket.AF_UNIX) as connection, suppress(ConnectionError, TimeoutError):
                connection.settimeout(5)
                connection.connect(str(path))
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
    newest = stack.playlist(live).segments[-1].sequence
    wait_for("the stream goes on", lambda: stack.playlist(live).segments[-1].sequence > newest + 3, 20)
    assert {p.pid for p in stack.stream_processes()} == pids
    worker = wait_for("fresh numbers", lambda: fresh_worker(stack, live), 20)
    assert worker["receiver"]["lost"] == 0
    still_serves(stack)


def fresh_worker(stack: Stack, live: Live) -> dict | None:
    """The worker's numbers, when they are new."""
    worker = (stack.stream(live)["live"] or {}).get("worker")
    return worker["value"] if worker and worker["age_ms"] < 2500 else None


def test_someone_elses_device_cannot_send_to_the_worker(stack: Stack, live: Live, tmp_path: Path):
    bond = stack.programs / "strata-bond"
    keys = [
        subprocess.run([bond, "keygen", tmp_path / n], check=True, capture_output=True, text=True).stdout for n in "ab"
    ]
    before = wait_for("fresh numbers", lambda: fresh_worker(stack, live), 20)
    command = [bond, "send", "--key", tmp_path / "a", "--peer", keys[1].strip(), "--input", "udp://127.0.0.1:0"]
    command += ["--link", f"127.0.0.1:{stack.stream(live)['port']}", "--latency", "1000ms"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as stranger:
        later = wait_for("more numbers", lambda: ahead_of(stack, live, before["receiver"]["delivered"] + 1500), 30)
        stranger.terminate()
    assert later["receiver"]["lost"] == before["receiver"]["lost"]


def ahead_of(stack: Stack, live: Live, delivered: int) -> dict | None:
    """The worker's numbers, once it delivered so much."""
    worker = fresh_worker(stack, live)
    return worker if worker and worker["receiver"]["delivered"] > delivered else None


# --- the machine's own trouble --------------------------------------------------------------------------------------


def test_a_port_in_use_is_named(stack: Stack, tmp_path: Path):
    command = [stack.programs / "strata-relay", "serve", "--data", tmp_path, "--listen", f"127.0.0.1:{stack.port}"]
    command += ["--run-dir", stack.run / "second"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    text = done.stdout + done.stderr
    assert done.returncode not in (0, 101)
    assert str(stack.port) in text
    assert "use" in text.lower(), text


def test_an_unknown_key_in_the_agents_configuration_is_named(stack: Stack, tmp_path: Path):
    config = tmp_path / "agent.toml"
    config.write_text('relay_url = "wss://relay.example.net"\nbitrate_tpyo = 7\n')
    command = [stack.programs / "strata-agent", "--config", config, "--check-config"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "bitrate_tpyo" in done.stderr
    assert str(config) in done.stderr


def failed_stream(stack: Stack, source: dict) -> dict:
    """A stream that cannot begin; how it ended."""
    live = stack.go_live(source)
    over = wait_for("the end", lambda: (s := stack.stream(live))["state"] in ("ended", "failed") and s, 60)
    wait_for("its processes are gone", lambda: not stack.stream_processes(), 30)
    return over


def test_a_source_file_that_is_missing_or_no_film_is_named(stack: Stack):
    stop_streams(stack)
    with pytest.raises(ApiError, match=r"409.*nowhere\.mp4"):
        stack.go_live({"kind": "file", "path": str(stack.media / "nowhere.mp4")})
    no_film = stack.media / "shopping-list.mp4"
    no_film.write_text("milk, bread\n" * 100)
    unreadable = failed_stream(stack, stack.source(f"file:{no_film}"))
    assert unreadable["reason"] == "source_unreadable", unreadable
    assert "shopping-list.mp4" in unreadable["detail"]
    still_serves(stack)


@pytest.fixture
def fewer_plugins(tmp_path: Path) -> dict[str, str]:
    """An environment in which GStreamer has all its plugins but those that encode H.264."""
    found = subprocess.run(["gst-inspect-1.0", "x264enc"], capture_output=True, text=True, check=True).stdout
    system = Path(next(line.split()[1] for line in found.splitlines() if "Filename" in line)).parent
    folder = tmp_path / "plugins"
    folder.mkdir()
    for plugin in system.glob("*.so"):
        if not any(word in plugin.name for word in ("x264", "openh264", "va", "v4l2codecs", "video4linux2", "nv")):
            (folder / plugin.name).symlink_to(plugin)
    return {"GST_PLUGIN_SYSTEM_PATH_1_0": str(folder), "GST_REGISTRY_1_0": str(tmp_path / "registry.bin")}


@pytest.fixture
def poor_stack(fewer_plugins: dict[str, str]) -> Iterator[Stack]:
    """A device on which no H.264 encoder is installed."""
    stack = Stack(fresh_folder("no_plugin"), agent_env=fewer_plugins)
    try:
        stack.start()
        yield stack
    finally:
        end(stack)


def test_a_missing_gstreamer_plugin_is_named_with_its_package(poor_stack: Stack):
    over = failed_stream(poor_stack, {"kind": "test_pattern"})
    assert over["reason"] == "plugin_missing", over
    assert "x264enc" in over["detail"]
    assert "gstreamer1.0-plugins-ugly" in over["detail"]


def stop_streams(stack: Stack) -> None:
    """End what the device still streams for an earlier test."""
    for stream in stack.api.get("/api/streams?over=false")["streams"]:
        stack.api.post(f"/api/streams/{stream['id']}/stop")
    wait_for("no stream is left", lambda: not stack.stream_processes(), 30)


@pytest.fixture
def small_disk(stack: Stack) -> Iterator[Path]:
    """A file system of 16 MB where the HLS folders are."""
    stop_streams(stack)
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = stack.data / "hls"
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("this machine does not allow mounting a file system")
    yield folder
    stop_streams(stack)
    wait_for("the file system is free", lambda: subprocess.run(["umount", str(folder)]).returncode == 0, 30)


def test_a_full_disk_is_told_and_what_was_there_stays(stack: Stack, small_disk: Path):
    kept = small_disk / "already-there"
    kept.write_bytes(garbage(14_000_000))
    live = go_live(stack)
    told = wait_for("the page tells of the disk", lambda: disk_words(stack, live), 60)
    print(told)
    assert str(small_disk) in told, told
    assert kept.read_bytes() == garbage(14_000_000)
    kept.unlink()
    newest = stack.playlist(live).segments[-1].sequence
    begin = time.monotonic()
    wait_for("segments once there is room again", lambda: stack.playlist(live).segments[-1].sequence > newest + 2, 60)
    print(f"segments again {time.monotonic() - begin:.1f} s after there was room")
    assert stack.stream(live)["state"] == "live"


def disk_words(stack: Stack, live: Live) -> str | None:
    """A line of the timeline that tells of a full disk."""
    return next((event["text"] for event in stack.events(live) if "disk" in event["text"].lower()), None)
