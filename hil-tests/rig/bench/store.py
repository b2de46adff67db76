"""Rows on disk: those of this commit can be kept, and a lean copy goes into the documentation."""

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .plan import Run


def version_of(root: Path, programs: Path) -> str:
    """The commit; with changes that are in none, or without git, also the program that was judged."""
    git = ["git", "-C", str(root)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--", ".", ":!docs"], capture_output=True, text=True)
    if head.returncode == 0 and not changed.stdout.strip():
        return head.stdout.strip()
    program = hashlib.sha256((programs / "strata-bond").read_bytes()).hexdigest()[:10]
    return f"{head.stdout.strip() or 'no commit'}, changed, program {program}"


def processor() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def lean(row: dict) -> dict:
    """A row without the long lists, for the documentation."""

    def without(value: object) -> object:
        if isinstance(value, dict):
            dropped = ("log", "logs")
            return {k: without(v) for k, v in value.items() if not k.endswith("_per_s") and k not in dropped}
        return [without(each) for each in value] if isinstance(value, list) else value

    return without(row)


@dataclass
class Store:
    """The rows of one version and judge, a JSON line each."""

    path: Path
    version: str
    judge: str

    def _read(self) -> list[dict]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [json.loads(line) for line in lines]

    def rows(self) -> list[dict]:
        """What is there of this version and judge."""
        mine = {"version": self.version, "judge": self.judge}
        return [row for row in self._read() if mine.items() <= row["run"].items()]

    def find(self, run: Run) -> dict | None:
        """The row of a run that was done before."""
        mine = {"name": run.name, "quick": run.quick}
        return next((row for row in self.rows() if mine.items() <= row["run"].items()), None)

    def forget(self, runs: list[Run]) -> None:
        """Drop the rows of these runs, and all of other versions; what else is there of this one stays."""
        again = {(self.judge, run.name, run.quick) for run in runs}

        def stays(about: dict) -> bool:
            return about["version"] == self.version and (about["judge"], about["name"], about["quick"]) not in again

        rows = [row for row in self._read() if stays(row["run"])]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(map(_line, rows)))

    def add(self, run: Run, row: dict) -> dict:
        """Keep a row, with what it is the row of."""
        about = {
            "name": run.name,
            "case": run.case.name,
            "quick": run.quick,
            "judge": self.judge,
            "version": self.version,
            "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "cores": os.cpu_count(),
            "processor": processor(),
        }
        row = {"run": about, **row}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as out:
            out.write(_line(row))
        return row


def _line(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def write_lean(rows: list[dict], path: Path) -> None:
    """The lean copy."""
    path.write_text("".join(_line(lean(row)) for row in rows))
