"""Who runs a scenario: the harness beside the project, or the project's own `strata-bench`."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .judge import RunFailed, check_row
from .plan import Run

PATIENCE_S = 120
"""More than a run takes beyond its stream, also on a busy machine."""

FIRST = ("nice", "-n", "-10")
"""The measuring comes before what else runs here; who may not have that goes on without."""


def _options(run: Run) -> list[str]:
    """What both judges take under the same names."""
    options = ["--latency", str(run.case.latency_ms), "--seed", str(run.seed)]
    if run.quick:
        options += ["--duration", str(run.stream_s)]
    if run.rate_bps:
        options += ["--rate", str(run.rate_bps)]
    if run.case.pps:
        options += ["--pps", str(run.case.pps)]
    return options


def _call(command: list[str], run: Run, env: dict[str, str]) -> str:
    """The standard output of a judge."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **env},
            timeout=run.stream_s + PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        raise RunFailed(f"no result {PATIENCE_S} s after the stream's end") from None
    if done.returncode != 0:
        raise RunFailed(" | ".join((done.stderr or done.stdout).strip().splitlines()[-3:]) or "no reason given")
    return done.stdout


def _may_isolate() -> bool:
    """Whether this process may have a network of its own, so that nobody is in the way."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0


@dataclass(frozen=True)
class Harness:
    """The judge that other transports are held against too, built in a folder of its own."""

    folder: Path
    programs: Path
    name: str = "harness"
    has_recordings: bool = True

    def run(self, run: Run) -> dict:
        """The row of a run."""
        with tempfile.TemporaryDirectory(prefix="strata-bench-") as folder:
            return self._run(run, Path(folder) / "row.jsonl")

    def _run(self, run: Run, out: Path) -> dict:
        env = {"STRATA_BOND": str(self.programs / "strata-bond")}
        start = [str(self.folder / "netns-run.sh")]
        if not _may_isolate():
            # Only root may raise priorities.
            start = [sys.executable, str(self.folder / "bench.py")]
            env |= {"BENCH_NICE_PEER": "0", "BENCH_NICE_TOOL": "0"}
        _call([*start, run.peer, run.case.scenario, *_options(run), "--out", str(out)], run, env)
        if not out.exists():
            raise RunFailed("the harness wrote no row")
        return check_row(json.loads(out.read_text().splitlines()[-1]))


@dataclass(frozen=True)
class OwnEmulator:
    """The project's own judge: `strata-bench`, over `strata-netem`'s links."""

    programs: Path
    name: str = "own emulator"
    has_recordings: bool = False

    def run(self, run: Run) -> dict:
        """The row of a run."""
        command = [*FIRST, str(self.programs / "strata-bench"), run.case.scenario, "--peer", run.peer, *_options(run)]
        return check_row(json.loads(_call(command, run, {})))
