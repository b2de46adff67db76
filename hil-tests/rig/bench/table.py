"""What is shown in words: a line per run while it goes on, then Markdown tables."""

from .cases import CASES, OURS
from .judge import MEASURES, Verdict, doubts, judged

COLUMNS = ("lost", "late", "bad_pct", "overhead_pct", "used_pct", "cpu_us", "p50_ms", "spread_ms")
HEADS = ("lost", "late", "lost + late", "overhead", "used", "CPU", "p50", "p99 − p50")
IN_DOUBT = "†"


def row_line(row: dict) -> str:
    """One row in one line."""
    parts = []
    for name, head in zip(COLUMNS, HEADS, strict=True):
        value = MEASURES[name].value(row)
        if value is not None and name != "bad_pct":
            parts.append(f"{head} {MEASURES[name].text(value)}")
    return ", ".join(parts) + "".join(f"; in doubt: {doubt}" for doubt in doubts(row))


def _table(heads: list[str], lines: list[list[str]]) -> str:
    """Markdown, in columns that are also straight in a terminal."""
    widths = [max(len(line[at]) for line in [heads, *lines]) for at in range(len(heads))]

    def one(cells: list[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([one(heads), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(one, lines)])


def _spread_text(name: str, rows: list[dict]) -> str:
    """A measure over the seeds: one value, or the least and the most."""
    measure = MEASURES[name]
    texts = list(dict.fromkeys(measure.text(value) for value in sorted(_values(name, rows))))
    if not texts:
        return "–"
    return texts[0] if len(texts) == 1 else f"{texts[0].split(' ')[0]}…{texts[-1]}"


def _values(name: str, rows: list[dict]) -> list[float]:
    return [value for row in rows if (value := MEASURES[name].value(row)) is not None]


def _marks(verdicts: list[Verdict]) -> str:
    if any(verdict.holds is False for verdict in verdicts):
        return "✗ " + ", ".join(MEASURES[v.bar.measure].label for v in verdicts if v.holds is False)
    return "✓"


def results_table(rows: list[dict]) -> str:
    """Our row of each case beside the peers' rows of the same run; a row of several seeds gives least and most."""
    lines = []
    for case, of_case, verdicts in judged(rows, CASES):
        for peer in dict.fromkeys(row["peer"] for row in of_case):
            of_peer = [row for row in of_case if row["peer"] == peer]
            doubt = f" {IN_DOUBT}" if any(doubts(row) for row in of_peer) else ""
            who = f"**{peer}**{doubt}" if peer == OURS else peer + doubt
            name = case.name if peer == OURS else ""
            cells = [_spread_text(column, of_peer) for column in COLUMNS]
            lines.append([name, who, *cells, _marks(verdicts) if peer == OURS else ""])
    return _table(["scenario", "who", *HEADS, "bars"], lines)


def bars_table(rows: list[dict]) -> str:
    """Each bar with its value: the worst of the seeds."""
    lines = []
    for case, _, verdicts in judged(rows, CASES):
        for verdict in verdicts:
            measure, mark = MEASURES[verdict.bar.measure], {True: "✓", False: "✗", None: "not measured"}
            limit = f"{verdict.bar.sign} {measure.text(verdict.bar.limit)}"
            lines.append([case.name, measure.label, limit, measure.text(verdict.value), mark[verdict.holds]])
    return _table(["scenario", "measure", "bar", "worst", ""], lines)


def missed(rows: list[dict]) -> list[str]:
    """A sentence for each bar that does not hold."""
    sentences = []
    for case, of_case, verdicts in judged(rows, CASES):
        doubt = ", in doubt" if any(doubts(row) for row in of_case if row["peer"] == OURS) else ""
        sentences += [f"{case.name}: {str(v).removeprefix('✗ ')}{doubt}" for v in verdicts if v.holds is False]
    return sentences


def seeds_of(rows: list[dict]) -> str:
    """The seeds of our rows."""
    return ", ".join(map(str, sorted({row["seed"] for row in rows if row["peer"] == OURS})))


PAGE = """# The transport, measured

Written by `./dev bench transport --write-docs`; do not edit. {count} runs, {first} to {last}, of `{version}`,
on {cores} cores ({processor}), judged by the {judge}. Seeds {seeds} of ours, one of each peer.

![Lost and late datagrams, overhead and links used, by scenario and peer](transport.svg)

What the scenarios are: `transport/strata-sim/src/scenario.rs`; the bars: `hil-tests/rig/bench/cases.py`; how to
run it: [tests](../runbooks/tests.md). Counts are of the whole stream, its first seconds too; delays are those after
5 s. Late is what came more than latency, slowest path and 100 ms after it was sent; it is not counted as lost. CPU
is processor time per datagram, both ends together; the peers do not encrypt. Overhead is what crosses the links above
the payload, IPv4 and UDP headers included. Where ours follows the links, a peer that names no bitrate sends a fixed
one.
{doubt}
{results}

## Bars

The worst of the seeds counts.

{bars}

## Left out

{skipped}
"""


def page(rows: list[dict], skipped: list[str]) -> str:
    """`docs/bench/README.md`."""
    about = rows[0]["run"]
    dates = sorted(row["run"]["date"] for row in rows)
    in_doubt = any(doubts(row) for row in rows)
    doubt = (
        f"\n{IN_DOUBT} The machine was too busy in at least one of these runs: {_all_doubts(rows)}.\n"
        if in_doubt
        else ""
    )
    return PAGE.format(
        count=len(rows),
        first=dates[0],
        last=dates[-1],
        seeds=seeds_of(rows),
        doubt=doubt,
        results=results_table(rows),
        bars=bars_table(rows),
        skipped="\n".join(f"- {sentence}" for sentence in skipped) or "Nothing.",
        **{name: about[name] for name in ("version", "cores", "processor", "judge")},
    )


def _all_doubts(rows: list[dict]) -> str:
    return "; ".join(f"{row['run']['name']}: {doubt}" for row in rows for doubt in doubts(row))
