"""Which runs there are: cases, peers and seeds, and a sentence for each that is left out."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .cases import CASES, OURS, PEERS, Case

SETTLE_S = 10
"""What a run takes beyond its stream: connecting, draining, ending."""


@dataclass(frozen=True)
class Run:
    """One stream of one peer."""

    case: Case
    peer: str
    seed: int
    quick: bool = False

    @property
    def name(self) -> str:
        """For people, and to find its row again."""
        return f"{self.case.name}, {self.peer}, seed {self.seed}"

    @property
    def stream_s(self) -> int:
        """How long its stream is."""
        return min(self.case.quick_s, self.case.seconds) if self.quick else self.case.seconds

    @property
    def rate_bps(self) -> int | None:
        """The bitrate, where it is not the scenario's own."""
        fixed = PEERS[self.peer].fixed_bps if self.peer in PEERS and self.case.follows else None
        return fixed or self.case.rate_bps


@dataclass
class Plan:
    """What is run, in order, and what is not and why."""

    runs: list[Run] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def left_s(self, done: int) -> int:
        """Seconds that the rest takes, about."""
        return sum(run.stream_s + SETTLE_S for run in self.runs[done:])


@dataclass(frozen=True)
class Wish:
    """What was asked for."""

    scenarios: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (1, 2, 3)
    peers: tuple[str, ...] = tuple(PEERS)
    quick: bool = False


def wanted_cases(wish: Wish, has_recordings: bool) -> tuple[list[Case], list[str]]:
    """The cases that can be run, and sentences on the others."""
    chosen = [case for case in CASES if not wish.scenarios or case.scenario in wish.scenarios]
    skipped = []
    if has_recordings:
        if "fading" in wish.scenarios:
            skipped.append("fading: the recorded links of S6 and S7 take its place (it runs with --own-emulator)")
        return [case for case in chosen if case.scenario != "fading"], skipped
    recorded = [case.scenario for case in chosen if case.recorded]
    chosen = [case for case in chosen if not case.recorded]
    if recorded:
        skipped.append(
            f"{' and '.join(recorded)}: the recordings come with the harness; made-up `fading` links instead"
        )
        fading = next(case for case in CASES if case.scenario == "fading")
        chosen = chosen if fading in chosen else [*chosen, fading]
    return chosen, skipped


def present_peers(peers: tuple[str, ...], which: Callable[[str], str | None]) -> tuple[list[str], list[str]]:
    """The peers whose programs are there, and sentences on the others."""
    present, skipped = [], []
    for peer in peers:
        missing = [program for program in PEERS[peer].programs if not which(program)]
        if missing:
            package = PEERS[peer].package
            skipped.append(f"{peer}: {' and '.join(missing)} not found (Debian's package {package})")
        else:
            present.append(peer)
    return present, skipped


def _fits(peer: str, case: Case) -> str:
    """Why a peer sits a case out; empty if it does not."""
    of_peer = PEERS[peer]
    if of_peer.one_link_only and not case.one_link:
        return "it has one link"
    if (case.pps or 0) > of_peer.most_pps:
        return f"it is made for {of_peer.most_pps} datagrams a second at most"
    return ""


def make(wish: Wish, has_recordings: bool, which: Callable[[str], str | None] = shutil.which) -> Plan:
    """The runs of a wish: peers first, for ours are held against theirs."""
    cases, skipped = wanted_cases(wish, has_recordings)
    peers, missing = present_peers(wish.peers, which)
    plan = Plan(skipped=skipped + missing)
    for peer in peers:
        out: dict[str, list[str]] = {}
        for case in cases:
            if why := _fits(peer, case):
                out.setdefault(why, []).append(case.name)
        plan.skipped += [f"{peer} in {', '.join(names)}: {why}" for why, names in out.items()]
    for case in cases:
        plan.runs += _runs_of(case, peers, wish)
    return plan


def _runs_of(case: Case, peers: list[str], wish: Wish) -> Iterator[Run]:
    for peer in peers:
        if not _fits(peer, case):
            yield Run(case, peer, wish.seeds[0], wish.quick)
    for seed in wish.seeds:
        yield Run(case, OURS, seed, wish.quick)
