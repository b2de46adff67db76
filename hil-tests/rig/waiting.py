"""Waiting for a state, with a limit; nothing here waits a fixed time and hopes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(Exception):
    """A state did not come within its limit."""


def wait_for(what: str, probe: Callable[[], T | None], limit_s: float, every_s: float = 0.1) -> T:
    """Call `probe` until it gives something true; what it raises meanwhile becomes part of the error."""
    deadline = time.monotonic() + limit_s
    last: Exception | None = None
    while True:
        try:
            value = probe()
            last = None
        except (OSError, LookupError, ValueError) as error:
            value, last = None, error
        if value:
            return value
        if time.monotonic() >= deadline:
            because = f" ({type(last).__name__}: {last})" if last else ""
            raise TimedOut(f"{what}: not within {limit_s:g} s{because}")
        time.sleep(every_s)
