"""One of three links is cut while live: the viewer sees nothing of it, the page sees it at once."""

import time

import pytest

from rig import viewer
from rig.netem import Emulator
from rig.stack import Live, Stack
from rig.waiting import wait_for

DEAD_WITHIN_S, UP_WITHIN_S = 2.0, 5.0


def link_states(stack: Stack, live: Live) -> list[str]:
    """What the device says of each link, as the relay tells it."""
    stats = (stack.stream(live)["live"] or {}).get("stats")
    return [link["state"] for link in stats["value"]["links"]] if stats else []


@pytest.mark.parametrize("link", [0, 1, 2])
def test_a_cut_link_is_not_seen_by_the_viewer(stack: Stack, live: Live, link: int):
    all_up = ["up"] * 3
    wait_for("three links", lambda: link_states(stack, live) == all_up, 30)
    width = stack.stream(live)["settings"]["width"]
    watching = viewer.Viewer(live.playlist, stack.folder / f"viewer-{link}.log", width).start()
    wait_for("five seconds of pictures", lambda: watching.frames_so_far > 150, 40)
    lost_before = stack.stream(live)["live"]["worker"]["value"]["receiver"]["lost"]

    with Emulator(stack.emulator_socket(live)) as emulator:
        emulator.cut(link)
        cut_at = time.monotonic()
        wait_for("the page shows the link dead", lambda: link_states(stack, live)[link] == "dead", 20, every_s=0.05)
        dead_after = time.monotonic() - cut_at
        frames = watching.frames_so_far
        wait_for("five seconds of pictures over two links", lambda: watching.frames_so_far > frames + 150, 40)
        assert [state for number, state in enumerate(link_states(stack, live)) if number != link] == ["up"] * 2
        emulator.restore(link)
        restored_at = time.monotonic()
        wait_for("the page shows the link alive", lambda: link_states(stack, live) == all_up, 40, every_s=0.05)
        up_after = time.monotonic() - restored_at

    frames = watching.frames_so_far
    wait_for("three seconds of pictures", lambda: watching.frames_so_far > frames + 90, 40)
    seen = viewer.judge(watching.stop(), settle_s=1, buffer_s=viewer.PLAYER_BUFFER_SEGMENTS)
    print(f"link {link}: dead after {dead_after:.2f} s, up {up_after:.2f} s after its return")
    assert (seen.video_gaps, seen.audio_gaps, seen.frames_lost) == ([], [], 0)
    assert stack.stream(live)["live"]["worker"]["value"]["receiver"]["lost"] == lost_before
    assert dead_after <= DEAD_WITHIN_S
    assert up_after <= UP_WITHIN_S
