"""What the tests of the whole share: a stack per module, and the search for what it left behind."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rig import processes
from rig.stack import Live, Stack
from rig.waiting import wait_for

RESULTS = Path(__file__).parent / "results"
PANIC = re.compile(r"panicked at|RUST_BACKTRACE|thread '.*' panicked|SIGABRT|core dumped|GStreamer-CRITICAL")

# Encoders and workers whose parent was killed become this process's children: what is left is seen.
processes.become_subreaper()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our own options."""
    parser.addoption("--pictures", action="store_true", help="put the README's pictures into docs/images/")


def fresh_folder(name: str) -> Path:
    """A folder of `results/` for one module or test; kept until it runs again."""
    folder = RESULTS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def complaints(folder: Path) -> list[str]:
    """Panics in any log below a folder."""
    found = []
    for log in folder.rglob("*.log*"):
        for line in log.read_text(errors="replace").splitlines():
            if PANIC.search(line):
                found.append(f"{log.relative_to(folder)}: {line}")
    return found


def udp_ports() -> set[int]:
    """The UDP ports of this machine that are in use now."""
    lines = Path("/proc/net/udp").read_text().splitlines()[1:]
    return {int(line.split()[1].split(":")[1], 16) for line in lines}


def end(stack: Stack) -> None:
    """End a stack; nothing may be left of it: no process, no port, no panic in a log."""
    stack.stop()
    assert stack.own_processes() == []
    assert not udp_ports() & set(stack.worker_ports)
    assert complaints(stack.folder) == []


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A relay and a device that is online, for the tests of one module."""
    made = Stack(fresh_folder(request.module.__name__))
    try:
        made.start()
        yield made
    finally:
        end(made)


@pytest.fixture(scope="module")
def live(stack: Stack) -> Live:
    """A stream of the test pattern that has reached its viewers."""
    return go_live(stack)


def go_live(stack: Stack, source: str = "test-pattern", **more: object) -> Live:
    """Go live, until the first segment is there."""
    stream = stack.go_live(stack.source(source), **more)
    stack.wait_until_live(stream)
    wait_for("the first segment", lambda: stack.playlist(stream).segments, 30)
    return stream
