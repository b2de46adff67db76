"""The tools of these tests, tried where the truth is known: no Strata program runs here."""

import functools
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rig import hls, processes, strip, viewer
from rig.waiting import TimedOut, wait_for

WIDTH, HEIGHT, RATE = 640, 360, 25


def frame(counter: int) -> bytes:
    """A gray picture with a strip, as planar 4:2:0."""
    side = strip.cell_side(WIDTH)
    code = strip.Timecode(int(time.time() * 1000), counter)
    moving = bytes([60 + counter % 100]) * WIDTH
    return strip.draw_row(code, side, WIDTH) * side + moving * (HEIGHT - side) + b"\x80" * (WIDTH * HEIGHT // 2)


def broadcast(folder: Path, seconds: float, skip: range) -> None:
    """A live stream by ffmpeg, in real time, in which the frames of `skip` are lost."""
    command = [
        *("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-y"),
        *("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", "pipe:0"),
        *("-f", "lavfi", "-i", "sine=frequency=440"),
        *("-vf", f"setpts=PTS+{len(skip)}/{RATE}/TB*gte(N\\,{skip.start})", "-fps_mode", "passthrough"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", str(RATE), "-b:v", "800k"),
        *("-c:a", "aac", "-shortest", "-f", "hls", "-hls_time", "1", "-hls_list_size", "6", str(folder / "index.m3u8")),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
        begin = time.monotonic()
        for number in range(int(seconds * RATE)):
            wait_for("the frame's time", lambda due=begin + number / RATE: time.monotonic() >= due, 5, 0.005)
            if number not in skip:
                encoder.stdin.write(frame(number))
        encoder.stdin.close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a line per request."""

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path):
    """A folder and the address at which it is served."""
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_port}/index.m3u8"
        server.shutdown()


def test_the_strip_is_read_back_and_a_damaged_one_is_refused():
    code = strip.Timecode(1_790_000_000_123, 54_321)
    row = strip.draw_row(code, 16, 1280)
    assert strip.read_row(row, 16) == code
    damaged = bytes(255 - luma if 500 < x < 516 else luma for x, luma in enumerate(row))
    assert strip.read_row(damaged, 16) is None
    assert strip.read_row(bytes(1280), 16) is None
    assert strip.read_row(b"", 16) is None


def test_a_viewer_sees_latency_and_exactly_the_frames_that_were_lost(web):
    folder, url = web
    live = threading.Thread(target=broadcast, args=(folder, 9, range(120, 130)))
    live.start()
    wait_for("a playlist", lambda: hls.parse(hls.fetch(url).decode()).segments, 20)
    watching = viewer.Viewer(url, folder / "viewer.log", WIDTH).start()
    live.join()
    wait_for("the end of the stream", watching.ended, 20)
    seen = watching.stop()
    result = viewer.judge(seen, settle_s=1, buffer_s=3)
    assert result.frames > 6 * RATE
    assert result.frames_without_strip == 0
    assert (result.frames_lost, result.frames_repeated) == (10, 0)
    assert len(result.video_gaps) == 1
    assert not result.audio_gaps
    assert result.silent_share == 0
    assert 0 < result.latency_ms[0] < 10_000


def test_a_watcher_reports_a_sequence_that_goes_back():
    def playlist(first: int) -> hls.Playlist:
        entries = "".join(f"#EXTINF:1.0,\n{n}.ts\n" for n in range(first, first + 3))
        return hls.parse(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n{entries}")

    watcher = hls.Watcher("http://127.0.0.1:1/")
    for first in (5, 6, 6, 7):
        watcher._look(playlist(first))
    assert (watcher.newest, watcher.steps_back) == (9, [])
    watcher._look(playlist(0))
    assert len(watcher.steps_back) == 2


@pytest.mark.parametrize("text", ["", "<html>", "#EXTM3U\nsegment.ts\n"])
def test_a_broken_playlist_is_refused(text: str):
    with pytest.raises(hls.PlaylistError):
        hls.parse(text)


def test_waiting_says_what_did_not_come_and_why():
    with pytest.raises(TimedOut, match=r"a file.*FileNotFoundError"):
        wait_for("a file", lambda: Path("/nonexistent").read_text(), 0.2)


def test_a_service_is_started_again_until_it_fails_too_often(tmp_path: Path):
    service = processes.Service("fails", ["/bin/false"], tmp_path / "log", restart_after_s=0.01)
    service.start()
    wait_for("the service to give up", lambda: service.gave_up, 10)
    assert len(service.exits) == service.start_limit
    assert str(service.exits[0]) == "exit status 1"
    service.stop()


def test_a_killed_service_comes_back_with_another_process(tmp_path: Path):
    service = processes.Service("sleeps", ["/bin/sleep", "1000"], tmp_path / "log", restart_after_s=0.01)
    service.start()
    killed = service.kill()
    wait_for("another process", lambda: service.pid not in (0, killed), 10)
    assert str(service.exits[0]) == "signal 9"
    service.stop()
    assert service.pid == 0


# A run that leaves a grandchild of its own session behind, as an agent leaves its encoder.
RUN = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from rig import processes

def body():
    subprocess.run(["sh", "-c", "setsid sleep 1000 & echo $!"], check=True)
    subprocess.run(["sh", "-c", "setsid sh -c 'trap \\"\\" TERM; while :; do sleep 0.1; done' & echo $!"], check=True)
    print("ready", flush=True)
    if sys.argv[2] == "crash":
        raise RuntimeError("on purpose")
    time.sleep(1000)

sys.exit(processes.guarded(body))
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "crash", "SIGKILL of the body", "SIGKILL of the guard"])
def test_no_process_outlives_a_run(how: str):
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", RUN, here, how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        left = [int(run.stdout.readline()), int(run.stdout.readline())]
        assert run.stdout.readline() == "ready\n"
        if how == "SIGKILL of the body":
            body = next(p for p in processes.descendants(run.pid) if p.parent == run.pid)
            processes.signal_process(body.pid, signal.SIGKILL)
        elif how == "SIGKILL of the guard":
            run.kill()
        elif how != "crash":
            run.send_signal(signal.Signals[how])
        run.wait(30)
        assert run.returncode != 0
    wait_for("the end of all", lambda: not any(alive(pid) for pid in left), 30)


def alive(pid: int) -> bool:
    """Whether a process still runs; one that became our zombie is collected."""
    info = processes.read_process(pid)
    if info and info.state == "Z" and info.parent == os.getpid():
        os.waitpid(pid, 0)
        return False
    return info is not None and info.state != "Z"
