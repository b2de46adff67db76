"""`./dev bench transport`: the scenarios of the bonded transport, ours beside its peers, held against the bars."""

import argparse
import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rig import processes
from rig.bench import plan, plot, table
from rig.bench.cases import NAMES, OURS, PEERS
from rig.bench.judge import RunFailed, doubts, verdicts, with_cpu_ratio
from rig.bench.judges import Harness, OwnEmulator
from rig.bench.store import Store, version_of, write_lean
from rig.stack import ROOT, StepFailed, programs_folder

PROGRAMS = ("strata-bond", "strata-bench")
DOCS = ROOT / "docs" / "bench"
ABOUT = """Runs the scenarios over emulated links in real time and holds each result against its bar; exit status 1 if
one is missed. With the harness (beside the project in ../shared/bench, or where STRATA_BENCH says) that one judges;
without it the project's own emulator does, with made-up fading links in place of the recorded ones. Peers are the
Debian packages rist-tools and srt-tools; one that is missing is skipped by name. All of it takes about an hour."""


def numbers(text: str) -> tuple[int, ...]:
    """Seeds, such as 1,2,3."""
    found = tuple(int(part) for part in text.split(",") if part)
    if not found:
        raise ValueError(text)
    return found


def peer_names(text: str) -> tuple[str, ...]:
    """Peers, such as rist-ro,srt; or none."""
    names = () if text == "none" else tuple(text.split(","))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: known are {', '.join(PEERS)}, or none")
    return names


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev bench transport", description=ABOUT)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(NAMES)}; all if none is named")
    parser.add_argument("--seeds", type=numbers, default=(1, 2, 3), metavar="1,2,3", help="ours; peers take the first")
    parser.add_argument("--peers", type=peer_names, default=tuple(PEERS), metavar=f"{','.join(PEERS)}|none")
    parser.add_argument("--quick", action="store_true", help="seed 1, short streams: whether it works, not how well")
    parser.add_argument("--own-emulator", action="store_true", help="even if the harness is there")
    parser.add_argument("--resume", action="store_true", help="keep the rows of this commit that are there")
    parser.add_argument("--report-only", action="store_true", help="exit status 0 even if a bar is missed")
    parser.add_argument("--write-docs", action="store_true", help="write table, rows and plot to docs/bench/ as well")
    parser.add_argument("--programs", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--harness", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "bench", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := [name for name in given.scenarios if name not in NAMES]:
        parser.error(f"no scenario is called {', '.join(unknown)}: there are {', '.join(NAMES)}")
    try:
        given.programs = given.programs or programs_folder(PROGRAMS)
    except StepFailed as error:
        parser.error(str(error))
    if given.write_docs and (given.scenarios or given.quick):
        parser.error("--write-docs is for a whole run: without names of scenarios and without --quick")
    return given


def say(text: str) -> None:
    """A line, at once."""
    print(text, flush=True)


class Pace:
    """How much longer runs take than planned, because some are repeated and ends do not start at once."""

    def __init__(self) -> None:
        self._planned_s = self._took_s = 0.0

    @property
    def factor(self) -> float:
        """Times what was planned."""
        return self._took_s / self._planned_s if self._planned_s else 1.0

    @contextlib.contextmanager
    def of(self, run: plan.Run) -> Iterator[None]:
        """Look at the clock around a run."""
        begin = time.monotonic()
        yield
        self._took_s += time.monotonic() - begin
        self._planned_s += run.stream_s + plan.SETTLE_S


class Bench:
    """One call of the command."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        harness = given.harness if not given.own_emulator else None
        self.judge = Harness(harness, given.programs) if harness else OwnEmulator(given.programs)
        seeds = given.seeds[:1] if given.quick else given.seeds
        wish = plan.Wish(tuple(given.scenarios), seeds, given.peers, given.quick)
        self.plan = plan.make(wish, self.judge.has_recordings)
        self.store = Store(given.out / "rows.jsonl", version_of(ROOT, given.programs), self.judge.name)
        self.rows: list[dict] = []
        self.failed: list[str] = []
        self.pace = Pace()

    def run(self) -> int:
        """All of it; the exit status. One at a time: two would disturb each other and share their rows."""
        self.given.out.mkdir(parents=True, exist_ok=True)
        with (self.given.out / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"✗ Another bench runs in {self.given.out}: wait for it, or end it with Ctrl-C")
                return 2
            return self._run_all()

    def _run_all(self) -> int:
        say(f"Judged by the {self.judge.name}; {len(self.plan.runs)} runs, about {minutes(self.plan.left_s(0))}.")
        for sentence in self.plan.skipped:
            say(f"  left out: {sentence}")
        if not self.given.resume:
            self.store.forget(self.plan.runs)
        try:
            for number in range(len(self.plan.runs)):
                self._one(number)
        except processes.Interrupted:
            say("\nInterrupted; what is done is kept: --resume goes on from here.")
            raise
        return self._report()

    def _one(self, number: int) -> None:
        run = self.plan.runs[number]
        left = minutes(self.plan.left_s(number) * self.pace.factor)
        place = f"[{number + 1}/{len(self.plan.runs)}, {left} left]"
        row, kept = self.store.find(run) if self.given.resume else None, True
        try:
            if not row:
                say(f"{place} {run.name} …")
                with self.pace.of(run):
                    row, kept = self.store.add(run, self._judge(run)), False
        except RunFailed as error:
            self.failed.append(f"{run.name}: {error}")
            say(f"  ✗ failed: {error}")
            return
        self.rows.append(row)
        say(f"{place + ' ' + run.name + ', kept:' if kept else ' '} {table.row_line(row)}")
        if run.peer == OURS:
            of_case = [each for each in self.rows if each["run"]["case"] == run.case.name]
            say("  " + "  ".join(map(str, verdicts(run.case, with_cpu_ratio(row, of_case)))))

    def _judge(self, run: plan.Run) -> dict:
        """A row; where the machine, not the transport, made it, another one."""
        row = self.judge.run(run)
        if doubts(row):
            say(f"  once more, for {' and '.join(doubts(row))}")
            row = self.judge.run(run)
        return row

    def _report(self) -> int:
        missed = table.missed(self.rows)
        ours_failed = any(f", {OURS}, " in sentence for sentence in self.failed)
        if self.rows:
            say("\n" + table.results_table(self.rows) + "\n\n" + table.bars_table(self.rows))
            self._write(self.given.out)
        for sentence in self.failed:
            say(f"✗ failed: {sentence}")
        for sentence in missed:
            say(f"✗ missed: {sentence}")
        if not missed and not self.failed:
            say("✓ Every bar that was measured holds.")
        if self.given.write_docs:
            self._write_docs()
        return 1 if (missed or ours_failed) and not self.given.report_only else 0

    def _write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        left_out = self.plan.skipped + [f"failed: {sentence}" for sentence in self.failed]
        (folder / "README.md").write_text(table.page(self.rows, left_out))
        plot.write(self.rows, folder / "transport.svg")
        say(f"\nTable and plot are in {folder}")

    def _write_docs(self) -> None:
        if not any(row["peer"] == OURS for row in self.rows):
            say("docs/bench/ stays as it is: there is no row of ours")
            return
        self._write(DOCS)
        write_lean(self.rows, DOCS / "transport.jsonl")


def minutes(seconds: float) -> str:
    """A time for people."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def main() -> int:
    """Run, whatever happens to the runs; nothing outlives it."""
    given = arguments()
    begin = time.monotonic()
    code = processes.guarded(lambda: Bench(given).run())
    say(f"{minutes(time.monotonic() - begin)} in all")
    return code


if __name__ == "__main__":
    sys.exit(main())
