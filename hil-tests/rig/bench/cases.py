"""What the transport is judged on, and the bars: data, in this one place.

What a scenario's name means (links, stream, what happens when) is with the judge: the harness's `bench.py`, or
`strata_sim::scenario` for the project's own emulator. Bars are those of the harness's README.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """A limit for one measure (see `judge.MEASURES`): a most, unless it is a least."""

    measure: str
    limit: float
    least: bool = False

    def holds(self, value: float) -> bool:
        """Whether a value is within the limit."""
        return value >= self.limit if self.least else value <= self.limit

    @property
    def sign(self) -> str:
        """How the value has to be to the limit."""
        return "≥" if self.least else "≤"


@dataclass(frozen=True)
class Case:
    """A scenario at one latency and rate."""

    scenario: str
    latency_ms: int
    bars: tuple[Bar, ...]
    seconds: int
    """About how long its stream is: for the time that is left, not for the judge."""
    quick_s: int = 8
    rate_bps: int | None = None
    pps: int | None = None
    one_link: bool = False
    recorded: bool = False
    follows: bool = False

    @property
    def name(self) -> str:
        """For people, and to find its rows again."""
        if self.pps:
            return f"{self.scenario} {self.pps}/s"
        rate = f" {self.rate_bps / 1e6:g} Mbit/s" if self.rate_bps else ""
        return f"{self.scenario} {self.latency_ms} ms{rate}"


def _most(**limits: float) -> tuple[Bar, ...]:
    return tuple(Bar(measure, limit) for measure, limit in limits.items())


_USED = (Bar("used_pct", 60, least=True), *_most(bad_pct=0.1, spread_ms=5))

CASES = (
    Case("S1", 500, _most(lost=0, overhead_pct=6, cpu_ratio=1.5, spread_ms=5), 30, one_link=True),
    Case("S2", 500, _most(lost=0, overhead_pct=8.5, spread_ms=5), 30, one_link=True),
    Case("S2", 250, _most(lost=0, spread_ms=5), 30, one_link=True),
    Case("S3", 500, _most(lost=0, overhead_pct=8, spread_ms=5), 40),
    Case("S3", 500, _most(lost=0, overhead_pct=8, spread_ms=5), 40, rate_bps=7_500_000),
    Case("S3", 250, _most(lost=0, late=0, spread_ms=5), 40),
    Case("S4", 500, _most(lost=0, late=0, into_dark=60, back_s=2, spread_ms=5), 40, quick_s=30),
    Case("S4", 1000, _most(lost=0, overhead_pct=9, spread_ms=5), 40, quick_s=30),
    Case("S5", 500, _most(lost=0, overhead_pct=13, spread_ms=5), 30),
    Case("S5", 250, _most(lost_pct=0.02, spread_ms=5), 30),
    Case("S6", 1000, _USED, 100, quick_s=30, recorded=True, follows=True),
    Case("S7", 1000, _USED, 100, quick_s=30, recorded=True, follows=True),
    Case("fading", 1000, _USED, 100, quick_s=30, follows=True),
    Case("S8", 500, _most(lost=0, overhead_pct=8, spread_ms=5), 40, quick_s=10),
    Case("S9", 500, _most(bad_pct=0.02, overhead_pct=9, spread_ms=5), 60, quick_s=30),
    Case("RAW", 500, _most(lost=0, cpu_us=15), 5, pps=45_000, one_link=True),
    Case("RAW", 500, _most(lost=0), 5, pps=10_000, one_link=True),
)
"""`fading` takes the place of S6 and S7 where there are no recordings; its bars are theirs."""

NAMES = tuple(dict.fromkeys(case.scenario for case in CASES))

DARK_LINK, LIGHT_AT_S = 0, 25
"""S4: the link that goes dark, and when it is light again."""


@dataclass(frozen=True)
class Peer:
    """Another transport."""

    programs: tuple[str, ...]
    package: str
    one_link_only: bool = False
    most_pps: int = 1_000_000
    fixed_bps: int | None = None
    """Its bitrate where ours follows the links: it names none."""


OURS = "strata"
PEERS = {
    "rist-ro": Peer(("ristsender", "ristreceiver"), "rist-tools", most_pps=10_000, fixed_bps=1_000_000),
    "srt": Peer(("srt-live-transmit",), "srt-tools", one_link_only=True),
}
MEASURE_OF_CPU = "rist-ro"
"""The peer whose processor time ours is held against."""
