"""Each process is killed while live: the stream comes back by itself, and the page tells what happened."""

import time
from collections.abc import Callable, Iterator

import pytest

from conftest import end, fresh_folder, go_live
from rig import hls, processes
from rig.proxy import Proxy
from rig.stack import Live, Stack
from rig.waiting import wait_for

BACK_WITHIN_S = 10.0


@pytest.fixture(scope="module")
def proxy_stack() -> Iterator[tuple[Stack, Proxy]]:
    """A stack whose control connection goes through a forwarder that can be cut."""
    stack = Stack(fresh_folder("test_faults"))
    proxy = Proxy(stack.port)
    stack.agent_relay_port = proxy.port
    try:
        stack.start()
        yield stack, proxy
    finally:
        proxy.close()
        end(stack)


@pytest.fixture(scope="module")
def stack(proxy_stack: tuple[Stack, Proxy]) -> Stack:
    """The stack alone."""
    return proxy_stack[0]


@pytest.fixture
def watcher(live: Live) -> Iterator[hls.Watcher]:
    """A viewer that never leaves."""
    watching = hls.Watcher(live.playlist).start()
    wait_for("a segment", lambda: watching.newest >= 0, 20)
    yield watching
    watching.stop()
    assert watching.steps_back == []
    assert watching.complaints == []


def counters(stack: Stack, live: Live) -> dict:
    """What the worker counts, as the relay tells it, not older than a few seconds."""

    def fresh() -> dict | None:
        worker = (stack.stream(live)["live"] or {}).get("worker")
        return worker["value"] if worker and worker["age_ms"] < 3000 else None

    return wait_for("fresh numbers of the worker", fresh, 20)


def wait_for_media(watcher: hls.Watcher, killed_at: float, back: Callable[[], bool]) -> float:
    """Seconds from the kill until its victim is back and two more segments are."""
    limit = 3 * BACK_WITHIN_S
    wait_for("the process is back", back, limit, every_s=0.02)
    newest = watcher.newest
    wait_for("two new segments", lambda: watcher.newest >= newest + 2, limit, every_s=0.02)
    return time.monotonic() - killed_at


def timeline_since(stack: Stack, live: Live, last_id: int) -> list[str]:
    """What the stream's timeline says since an event."""
    return [event["text"] for event in stack.events(live) if event["id"] > last_id]


def last_event(stack: Stack, live: Live) -> int:
    """The newest event's number."""
    return max(event["id"] for event in stack.events(live))


def kill(pid: int) -> float:
    """kill -9; when it was."""
    processes.signal_process(pid, 9)
    return time.monotonic()


@pytest.mark.parametrize(("name", "word"), [("strata-encoder", "encoder"), ("strata-egress", "worker")])
def test_a_killed_media_process_is_back_within_10_s(
    stack: Stack, live: Live, watcher: hls.Watcher, name: str, word: str
):
    before, pid = last_event(stack, live), stack.pid_of(name)
    killed_at = kill(pid)
    back = wait_for_media(watcher, killed_at, lambda: any(p.pid != pid for p in stack.stream_processes(name)))
    assert back < BACK_WITHIN_S
    told = wait_for("the page tells", lambda: [t for t in timeline_since(stack, live, before) if word in t.lower()], 10)
    print(f"{name} back after {back:.1f} s; told: {told}")
    assert stack.stream(live)["state"] == "live"


def test_a_killed_relay_does_not_interrupt_media(stack: Stack, live: Live, watcher: hls.Watcher):
    before, worker, encoder = counters(stack, live), stack.pid_of("strata-egress"), stack.pid_of("strata-encoder")
    last = last_event(stack, live)
    pid = stack.relay.pid
    killed_at = kill(pid)
    back = wait_for_media(watcher, killed_at, lambda: stack.relay.pid not in (0, pid))
    assert back < BACK_WITHIN_S
    stack.api.log_in(stack.email, stack.password)
    wait_for("the device is online again", stack.is_online, 40)
    after = counters(stack, live)
    assert (stack.pid_of("strata-egress"), stack.pid_of("strata-encoder")) == (worker, encoder)
    assert_unbroken(before, after)
    told = wait_for("the page tells", lambda: timeline_since(stack, live, last), 10)
    print(f"relay back after {back:.1f} s; told: {told}")
    assert stack.stream(live)["state"] == "live"


def test_a_killed_agent_does_not_interrupt_media(stack: Stack, live: Live, watcher: hls.Watcher):
    before, worker, encoder = counters(stack, live), stack.pid_of("strata-egress"), stack.pid_of("strata-encoder")
    last = last_event(stack, live)
    pid = stack.agent.pid
    killed_at = kill(pid)
    back = wait_for_media(watcher, killed_at, lambda: stack.agent.pid not in (0, pid))
    assert back < BACK_WITHIN_S
    told = wait_for("the page tells", lambda: timeline_since(stack, live, last), 10)
    print(f"agent back after {back:.1f} s; told: {told}")
    wait_for("the device is online again", stack.is_online, 40)
    wait_for("the device's numbers are fresh", lambda: stack.stream(live)["live"]["stats"]["age_ms"] < 3000, 20)
    assert (stack.pid_of("strata-egress"), stack.pid_of("strata-encoder")) == (worker, encoder)
    assert_unbroken(before, counters(stack, live))
    assert stack.stream(live)["state"] == "live"


def test_a_cut_control_connection_does_not_interrupt_media(
    proxy_stack: tuple[Stack, Proxy], live: Live, watcher: hls.Watcher
):
    stack, proxy = proxy_stack
    before, encoder = counters(stack, live), stack.pid_of("strata-encoder")
    proxy.cut()
    wait_for("the relay sees the device as offline", lambda: not stack.is_online(), 60)
    newest = watcher.newest
    wait_for("media goes on", lambda: watcher.newest >= newest + 5, 20)
    stream = stack.stream(live)
    assert (stream["state"], stream["device_online"]) == ("live", False)
    proxy.mend()
    wait_for("the device is online again", stack.is_online, 60)
    assert stack.pid_of("strata-encoder") == encoder
    assert_unbroken(before, counters(stack, live))


def test_the_stream_ends_with_its_reason_and_nothing_is_left(stack: Stack, live: Live):
    ended = stack.stop_stream(live)
    assert (ended["state"], ended["reason"]) == ("ended", "stopped_by_user")
    assert stack.email in ended["detail"] or ended["stopped_by"] == stack.email
    assert stack.stream_processes() == []


def test_an_encoder_that_dies_again_and_again_ends_the_stream_with_its_reason(stack: Stack):
    stream = go_live(stack)
    killed: set[int] = set()

    def kill_again() -> dict | None:
        for encoder in stack.stream_processes("strata-encoder"):
            if encoder.pid not in killed:
                killed.add(encoder.pid)
                kill(encoder.pid)
        now = stack.stream(stream)
        return now if now["state"] in ("ended", "failed") else None

    over = wait_for("the stream is over", kill_again, 90)
    assert over["reason"] == "encoder_failed", over
    assert "signal 9" in over["detail"] or "SIGKILL" in over["detail"], over["detail"]
    wait_for("its processes are gone", lambda: not stack.stream_processes(), 30)


def assert_unbroken(before: dict, after: dict) -> None:
    """Between two looks at the same worker nothing was lost at all."""
    assert after["receiver"]["delivered"] > before["receiver"]["delivered"]
    for name in ("lost", "late"):
        assert after["receiver"][name] == before["receiver"][name], name
    for name in ("continuity_errors", "video_gaps"):
        assert after[name] == before[name], name
