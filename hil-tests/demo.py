"""`./dev demo`: relay and simulated device on this machine, live, until Ctrl-C; or checked without a person.

Standard library only. Nothing outlives it: see `rig.processes.guarded`.
"""

import argparse
import contextlib
import fcntl
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rig import processes
from rig.check import Check, numbers_line
from rig.stack import ROOT, Live, Stack, StepFailed
from rig.waiting import TimedOut, wait_for

BEGIN = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the time since the start."""
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Relay and simulated device on this machine, live.")
    parser.add_argument("--source", metavar="WHAT", help="simulated-camera, test-pattern or file:PATH")
    parser.add_argument("--check", action="store_true", help="a real player watches; exit status 0 when all bars hold")
    parser.add_argument("--duration", type=float, default=60, metavar="SECONDS", help="how long --check watches (60)")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of the pages (a free one)")
    parser.add_argument("--keep", action="store_true", help="go on with the database of the last demo")
    parser.add_argument("--state", type=Path, default=ROOT / ".demo", help=argparse.SUPPRESS)
    parser.add_argument("--report-only", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--called-from", default=".", help=argparse.SUPPRESS)
    given = parser.parse_args()
    # The test pattern carries the strip by which latency and lost frames are measured.
    given.source = given.source or ("test-pattern" if given.check else "simulated-camera")
    kind, _, path = given.source.partition(":")
    if kind == "file":
        given.source = f"file:{Path(given.called_from, path).resolve()}"
    if not 5 <= given.duration <= 86_400:
        parser.error("--duration: between 5 and 86400 seconds expected")
    if not 0 <= given.port <= 65_535:
        parser.error("--port: between 0 and 65535 expected")
    return given


@contextlib.contextmanager
def locked(state: Path) -> Iterator[None]:
    """One demo at a time keeps its state in a folder; the lock ends with the process, however that ends."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StepFailed(f"another demo uses {state}: end it first (Ctrl-C where it runs)") from None
        yield


def make_stack(given: argparse.Namespace) -> Stack:
    """A fresh stack, or the last one's database and device."""
    saved = given.state / "login.json"
    if given.keep and saved.exists():
        return Stack(given.state, given.port, say, **json.loads(saved.read_text()))
    for path in given.state.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()
    return Stack(given.state, given.port, say)


def run(given: argparse.Namespace) -> int:
    """All of it; the exit status."""
    with locked(given.state):
        stack = make_stack(given)
        try:
            stack.start()
            login = {"email": stack.email, "password": stack.password, "device_id": stack.device_id}
            saved = given.state / "login.json"
            saved.touch(mode=0o600)
            saved.write_text(json.dumps(login))
            return check(stack, given) if given.check else show(stack, given)
        finally:
            say("Ending everything")
            stack.stop()


def check(stack: Stack, given: argparse.Namespace) -> int:
    """Without a person."""
    report = Check(stack, given.source, given.duration, say).run()
    print(report.text(), flush=True)
    failures = report.failures
    print("\nAll bars hold." if not failures else f"\n{len(failures)} bars do not hold:", flush=True)
    for row in failures:
        print(f"  {row.name}: {row.value} (bar: {row.bar})", flush=True)
    return 0 if given.report_only or not failures else 1


def show(stack: Stack, given: argparse.Namespace) -> int:
    """For a person, until Ctrl-C."""
    live = stack.go_live(stack.source(given.source))
    say("Going live")
    stack.wait_until_live(live)
    wait_for("the first HLS segment", lambda: stack.playlist(live).segments, 30)
    say(f"Live {time.monotonic() - live.asked_at:.1f} s after asking for it")
    base = stack.api.base
    print(
        f"\n  Stream   {base}/streams/{live.stream_id}\n  Watch    {base}/play/{live.play_key}\n"
        f"  Log in   {stack.email}\n  Password {stack.password}\n  State    {given.state}\n\n  Ctrl-C ends it.\n",
        flush=True,
    )
    follow(stack, live)
    return 1


def follow(stack: Stack, live: Live) -> None:
    """One line of live numbers; on a terminal it renews itself. Ends when the stream does."""
    terminal = sys.stdout.isatty()
    while True:
        try:
            stream = stack.stream(live)
        except OSError as error:
            line = f"the relay does not answer ({error})"
        else:
            line = numbers_line(stream)
            if stream["state"] in ("ended", "failed"):
                say(f"The stream is over: {stream['reason']}: {stream['detail']}")
                return
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}" if terminal else line, end="" if terminal else "\n", flush=True)
        time.sleep(1 if terminal else 5)


def body(given: argparse.Namespace) -> int:
    """The run, with its failures in words."""
    try:
        return run(given)
    except (StepFailed, TimedOut) as error:
        print(f"\n✗ {error}", file=sys.stderr, flush=True)
        print(f"  Logs are in {given.state}; ./dev help, docs/runbooks/demo.md", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    chosen = arguments()
    sys.exit(processes.guarded(lambda: body(chosen)))
