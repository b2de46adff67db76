"""What a row says, measure by measure, and whether the bars hold."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .cases import DARK_LINK, LIGHT_AT_S, MEASURE_OF_CPU, OURS, Bar, Case

WARM_S = 5
"""The first seconds, in which links are learnt: the delays are those after it."""
DATAGRAM_BYTES = 1316
BUSY_MS = 100
"""A source that was late by more than this ran on a machine that was too busy to judge anything."""
BACK_SHARE = 0.2
"""A link is in use again in the second in which it carries this share of what it carried before."""


class RunFailed(Exception):
    """A run gave no result; the sentence says why."""


def check_row(row: dict) -> dict:
    """The row, if it can be judged."""
    if row.get("dead"):
        raise RunFailed(f"{' and '.join(row['dead'])} ended during the run {row.get('log') or ''}".rstrip())
    if not row.get("sink") or not row.get("src"):
        raise RunFailed("the judge gave no counts")
    if not row["sink"]["delivered"]:
        raise RunFailed("nothing was delivered")
    return row


def _sent(row: dict) -> int:
    return max(1, row["sink"]["expect"])


def _cpu_s(row: dict) -> float | None:
    parts = (row.get("cpu_tx"), row.get("cpu_rx"))
    return None if None in parts else sum(parts)


def _cpu_us(row: dict) -> float | None:
    seconds = _cpu_s(row)
    return None if seconds is None else seconds * 1e6 / _sent(row)


def _links(row: dict) -> list[dict]:
    return (row.get("emu") or {}).get("links", [])


def _into_dark(row: dict) -> float | None:
    return _links(row)[DARK_LINK]["fwd"]["drop_blackout"] if _links(row) else None


def _back_s(row: dict) -> float | None:
    """Seconds until the link that was dark is in use again, rounded up; the rest of the run if it never is."""
    carried = _links(row)[DARK_LINK]["fwd"].get("out_wire_per_s") if _links(row) else None
    if not carried or row["dur"] < LIGHT_AT_S + 2:
        return None
    before = sum(carried[WARM_S : LIGHT_AT_S - 10]) / (LIGHT_AT_S - 10 - WARM_S)
    after = [number for number, wire in enumerate(carried[LIGHT_AT_S:], 1) if wire >= BACK_SHARE * before]
    return after[0] if after else row["dur"] - LIGHT_AT_S


def _delay(row: dict, share: str) -> float:
    """A percentile after the first seconds; of a stream that has no more, of all."""
    return row["sink"][f"w{share}" if row["dur"] > WARM_S else share]


@dataclass(frozen=True)
class Measure:
    """A number of a row: how it is called, how it is written, how it is found."""

    label: str
    form: str
    value: Callable[[dict], float | None]

    def text(self, value: float | None) -> str:
        """The value for people."""
        return "–" if value is None else self.form.format(value)


MEASURES = {
    "lost": Measure("lost", "{:.0f}", lambda row: row["sink"]["lost"]),
    "late": Measure("late", "{:.0f}", lambda row: row["sink"]["late"]),
    "lost_pct": Measure("lost", "{:.3f} %", lambda row: 100 * row["sink"]["lost"] / _sent(row)),
    "bad_pct": Measure(
        "lost + late", "{:.3f} %", lambda row: 100 * (row["sink"]["lost"] + row["sink"]["late"]) / _sent(row)
    ),
    "overhead_pct": Measure("overhead", "{:.1f} %", lambda row: row.get("overhead_pct")),
    "used_pct": Measure("of the links used", "{:.1f} %", lambda row: row.get("used_pct")),
    "cpu_us": Measure("CPU per datagram, both ends", "{:.1f} µs", _cpu_us),
    "cpu_ratio": Measure(f"CPU, of {MEASURE_OF_CPU}'s", "{:.2f} ×", lambda row: row.get("cpu_ratio")),
    "into_dark": Measure("datagrams into the dark link", "{:.0f}", _into_dark),
    "back_s": Measure("link in use again within", "{:.0f} s", _back_s),
    "p50_ms": Measure("p50", "{:.0f} ms", lambda row: _delay(row, "p50")),
    "spread_ms": Measure("p99 − p50", "{:.1f} ms", lambda row: _delay(row, "p99") - _delay(row, "p50")),
}


@dataclass(frozen=True)
class Verdict:
    """A bar and a value; `holds` is none where the value could not be measured."""

    bar: Bar
    value: float | None

    @property
    def holds(self) -> bool | None:
        """Whether the bar holds."""
        return None if self.value is None else self.bar.holds(self.value)

    def __str__(self) -> str:
        measure = MEASURES[self.bar.measure]
        mark = {True: "✓", False: "✗", None: "·"}[self.holds]
        limit = measure.text(self.bar.limit)
        return f"{mark} {measure.label} {measure.text(self.value)} ({self.bar.sign} {limit})"


def with_cpu_ratio(row: dict, peers_rows: Iterable[dict]) -> dict:
    """The row with its processor time as a multiple of the peer's in the same case, if that one ran."""
    theirs = [value for peer in peers_rows if peer["peer"] == MEASURE_OF_CPU and (value := _cpu_us(peer))]
    ours = _cpu_us(row)
    ratio = ours / (sum(theirs) / len(theirs)) if theirs and ours is not None else None
    return {**row, "cpu_ratio": ratio}


def verdicts(case: Case, row: dict) -> list[Verdict]:
    """Each bar of a case held against one row of ours."""
    return [Verdict(bar, MEASURES[bar.measure].value(row)) for bar in case.bars]


def worst(case: Case, rows: list[dict]) -> list[Verdict]:
    """Each bar of a case held against the worst of the rows of ours."""
    found = []
    for bar in case.bars:
        values = [value for row in rows if (value := MEASURES[bar.measure].value(row)) is not None]
        pick = min if bar.least else max
        found.append(Verdict(bar, pick(values) if values else None))
    return found


def doubts(row: dict) -> list[str]:
    """What says that the machine, not the transport, made the result."""
    found = []
    if row["src"]["max_lag_ms"] > BUSY_MS:
        found.append(f"the source itself was up to {row['src']['max_lag_ms']:.0f} ms late")
    if row.get("kernel_drops"):
        found.append(f"the system dropped {row['kernel_drops']} packets at the bench's own sockets")
    return found


def judged(rows: list[dict], cases: Iterable[Case]) -> list[tuple[Case, list[dict], list[Verdict]]]:
    """Each case that has rows of ours: all its rows, and its verdicts."""
    found = []
    for case in cases:
        of_case = [row for row in rows if row["run"]["case"] == case.name]
        ours = [with_cpu_ratio(row, of_case) for row in of_case if row["peer"] == OURS]
        others = [row for row in of_case if row["peer"] != OURS]
        if ours:
            found.append((case, ours + others, worst(case, ours)))
    return found
