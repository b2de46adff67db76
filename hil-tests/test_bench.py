"""`./dev bench transport`: it plans, judges and shows as it says, and one short stream goes all the way."""

import copy
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import fresh_folder
from rig import processes
from rig.bench import plan, plot, table
from rig.bench.cases import CASES, OURS, PEERS, Case
from rig.bench.judge import MEASURES, RunFailed, check_row, doubts, judged, verdicts, with_cpu_ratio, worst
from rig.bench.store import Store, lean
from rig.stack import programs_folder
from rig.waiting import wait_for

COMMAND = Path(__file__).parent / "bench_transport.py"
# Far more than it takes, also on a machine that does eight other things.
PATIENCE_S = 300


def case(name: str) -> Case:
    return next(case for case in CASES if case.name == name)


def row(name: str, peer: str = OURS, seed: int = 1, **changes: object) -> dict:
    """A row without a flaw, but for the changes."""
    counts = {"expect": 10_000, "delivered": 10_000, "lost": 0, "late": 0, "p50": 520, "p99": 522}
    made = {
        "run": {"name": f"{name}, {peer}, seed {seed}", "case": name, "date": "2026-01-01", "version": "abc"}
        | {"judge": "test", "cores": 2, "processor": "a processor"},
        **{"peer": peer, "seed": seed, "dur": 40, "dead": [], "cpu_tx": 0.5, "cpu_rx": 0.5, "overhead_pct": 5.0},
        "src": {"sent": 10_000, "max_lag_ms": 1.0},
        "sink": counts | {"wp50": 520, "wp99": 522},
    }
    made["sink"] |= {key: changes.pop(key) for key in list(changes) if key in made["sink"]}
    return made | changes


def holds(name: str, made: dict) -> dict[str, bool | None]:
    return {verdict.bar.measure: verdict.holds for verdict in verdicts(case(name), made)}


def test_every_bar_has_its_measure_and_every_case_its_own_name():
    assert {bar.measure for case in CASES for bar in case.bars} <= set(MEASURES)
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_row_is_held_against_its_bars():
    assert set(holds("S2 500 ms", row("S2 500 ms")).values()) == {True}
    bad = holds("S2 500 ms", row("S2 500 ms", lost=1, overhead_pct=8.6, wp99=526))
    assert bad == {"lost": False, "overhead_pct": False, "spread_ms": False}
    assert holds("S9 500 ms", row("S9 500 ms", lost=1, late=1))["bad_pct"]
    assert not holds("S9 500 ms", row("S9 500 ms", lost=1, late=2))["bad_pct"]
    assert not holds("S6 1000 ms", row("S6 1000 ms", used_pct=59.9))["used_pct"]
    assert "✗ of the links used 59.9 % (≥ 60.0 %)" in map(str, verdicts(case("S6 1000 ms"), row("", used_pct=59.9)))


def test_processor_time_is_held_against_the_peer_of_the_same_run():
    ours, theirs = row("S1 500 ms"), row("S1 500 ms", "rist-ro", cpu_tx=0.3, cpu_rx=0.2)
    assert holds("S1 500 ms", with_cpu_ratio(ours, []))["cpu_ratio"] is None
    assert holds("S1 500 ms", with_cpu_ratio(ours, [theirs]))["cpu_ratio"] is False
    assert holds("S1 500 ms", with_cpu_ratio(ours, [theirs | {"cpu_tx": 0.5}]))["cpu_ratio"] is True


@pytest.mark.parametrize(("back_in", "expected"), [(0, 1), (1, 2), (4, 5), (99, 15)])
def test_a_link_that_was_dark_is_back_in_the_second_in_which_it_carries_again(back_in: int, expected: int):
    carried = [100 if second < 15 or second >= 25 + back_in else 1 for second in range(40)]
    links = [{"fwd": {"drop_blackout": 61, "out_wire_per_s": carried}}]
    made = row("S4 500 ms", emu={"links": links})
    assert MEASURES["back_s"].value(made) == expected
    assert holds("S4 500 ms", made)["into_dark"] is False
    assert holds("S4 500 ms", row("S4 500 ms"))["back_s"] is None


def test_the_worst_seed_counts():
    rows = [row("S6 1000 ms", seed=seed, used_pct=used, lost=lost) for seed, used, lost in ((1, 70, 0), (2, 50, 30))]
    values = {verdict.bar.measure: verdict.value for verdict in worst(case("S6 1000 ms"), rows)}
    assert (values["used_pct"], values["bad_pct"]) == (50, 0.3)
    assert [len(of_case) for _, of_case, _ in judged(rows, CASES)] == [2]


def test_a_run_without_a_result_says_why():
    for broken, why in (({"dead": ["ristsender"]}, "ristsender"), ({"sink": None}, "no counts")):
        with pytest.raises(RunFailed, match=why):
            check_row(row("S1 500 ms") | broken)
    with pytest.raises(RunFailed, match="nothing was delivered"):
        check_row(row("S1 500 ms", delivered=0))


def test_a_machine_that_is_too_busy_is_told_from_a_bad_transport():
    assert doubts(row("S1 500 ms")) == []
    assert len(doubts(row("S1 500 ms", src={"max_lag_ms": 400.0}, kernel_drops=3))) == 2


def test_peers_run_first_and_only_where_they_make_sense():
    runs = plan.make(plan.Wish(scenarios=("S1", "S3", "RAW")), True, which=str).runs
    assert [run.peer for run in runs if run.case.name == "S1 500 ms"] == ["rist-ro", "srt", *[OURS] * 3]
    assert [run.peer for run in runs if run.case.name == "S3 250 ms"] == ["rist-ro", *[OURS] * 3]
    assert [run.peer for run in runs if run.case.name == "RAW 45000/s"] == ["srt", *[OURS] * 3]
    assert {run.seed for run in runs if run.peer == OURS} == {1, 2, 3}
    following = plan.make(plan.Wish(scenarios=("S6",)), True, which=str).runs
    assert [run.rate_bps for run in following] == [1_000_000, None, None, None]


def test_what_is_left_out_is_named():
    made = plan.make(plan.Wish(), False, which=lambda _: None)
    assert {run.peer for run in made.runs} == {OURS}
    assert {run.case.scenario for run in made.runs}.isdisjoint({"S6", "S7"})
    assert "fading" in {run.case.scenario for run in made.runs}
    text = "\n".join(made.skipped)
    assert "S6 and S7" in text and all(f"{peer}: " in text and PEERS[peer].package in text for peer in PEERS)
    assert "fading" not in {run.case.scenario for run in plan.make(plan.Wish(), True, which=str).runs}


def test_rows_of_another_commit_or_judge_are_not_kept(tmp_path: Path):
    run = plan.Run(case("S1 500 ms"), OURS, 1)
    store = Store(tmp_path / "rows.jsonl", "abc", "harness")
    store.add(run, {"peer": OURS})
    assert store.find(run)["run"]["cores"] == os.cpu_count()
    assert store.find(plan.Run(run.case, OURS, 2)) is None
    assert store.find(plan.Run(run.case, OURS, 1, quick=True)) is None
    assert Store(store.path, "def", "harness").find(run) is None
    assert Store(store.path, "abc", "own emulator").find(run) is None


def test_a_new_run_drops_its_own_former_rows_only(tmp_path: Path):
    first, second = (plan.Run(case("S1 500 ms"), OURS, seed) for seed in (1, 2))
    store = Store(tmp_path / "rows.jsonl", "abc", "harness")
    for run in (first, second):
        store.add(run, {"peer": OURS})
    store.forget([first])
    assert store.find(first) is None and store.find(second)
    Store(store.path, "def", "harness").forget([])
    assert store.find(second) is None


def test_tables_show_ours_beside_the_peers_and_name_what_is_missed():
    rows = [row("S2 500 ms", "rist-ro"), row("S2 500 ms"), row("S2 500 ms", seed=2, lost=3)]
    lines = [[cell.strip() for cell in line.split("|")] for line in table.results_table(rows).splitlines()[2:]]
    assert [line[2] for line in lines] == ["**strata**", "rist-ro"]
    assert (lines[0][3], lines[0][-2], lines[1][3]) == ("0…3", "✗ lost", "0")
    assert table.missed(rows) == ["S2 500 ms: lost 3 (≤ 0)"]
    page = table.page(rows, ["srt: not there"])
    assert all(text in page for text in ("abc", "a processor", "- srt: not there", "| S2 500 ms | lost"))


def test_the_documentation_gets_rows_without_long_lists():
    made = row("S4 500 ms", emu={"links": [{"fwd": {"drop_blackout": 1, "out_wire_per_s": [1] * 40}}]}, log="…")
    before = copy.deepcopy(made)
    assert lean(made)["emu"] == {"links": [{"fwd": {"drop_blackout": 1}}]}
    assert "log" not in lean(made) and made == before


def test_the_plot_is_a_picture_for_light_and_dark():
    rows = [row("S2 500 ms", "rist-ro"), row("S2 500 ms", lost=5), row("S6 1000 ms", used_pct=70)]
    text = plot.svg(rows)
    ElementTree.fromstring(text)  # noqa: S314 (our own)
    assert "prefers-color-scheme: dark" in text and "var(--ink)" in text and "Lost or late" in text
    assert plot.INK not in text and plot.FAINT not in text
    assert text == plot.svg(rows)


def start(folder: Path, *options: str) -> list[str]:
    programs = programs_folder(("strata-bond", "strata-bench"))
    fixed = ["--own-emulator", "--quick", "--report-only", "--programs", str(programs), "--out", str(folder)]
    return [sys.executable, str(COMMAND), "S1", *fixed, *options]


def test_a_short_stream_goes_all_the_way_and_is_kept():
    folder = fresh_folder("test_bench")
    done = subprocess.run(start(folder, "--peers", "none"), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert made["sink"]["delivered"] > 0.9 * made["sink"]["expect"] > 1000
    assert made["sink"]["corrupt"] == 0 and made["emu"]["links"][0]["fwd"]["in_pkts"] > made["sink"]["delivered"]
    assert "| S1 500 ms | **strata**" in done.stdout and "S1 500 ms" in (folder / "README.md").read_text()
    assert (folder / "transport.svg").read_text().startswith("<?xml")
    again = subprocess.run(start(folder, "--peers", "none", "--resume"), capture_output=True, text=True, timeout=60)
    assert again.returncode == 0 and "kept" in again.stdout


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path):
    bench = subprocess.Popen(start(tmp_path, "--peers", "none"), stdout=subprocess.PIPE, text=True)

    def names() -> list[str]:
        return [info.name for info in processes.descendants(bench.pid)]

    wait_for("both ends run", lambda: names().count("strata-bond") == 2, PATIENCE_S)
    started = processes.descendants(bench.pid)
    bench.send_signal(signal.SIGINT)
    said, _ = bench.communicate(timeout=60)
    assert bench.returncode == 130 and "--resume" in said
    assert [
        info.name for info in started if (now := processes.read_process(info.pid)) and now.started == info.started
    ] == []
