"""A camera's picture, from the kernel's simulated one or a real one, through the bond to a relay, and played."""

import json
import subprocess
from pathlib import Path

import pytest

from rig.stack import Live
from rig.vm.device import Device
from rig.vm.machine import OLD_PROCESSOR
from rig.vm.stack import DeviceStack
from rig.waiting import wait_for

# Agent and encoder at work need no instruction that an RK3588 lacks.
PROCESSOR = OLD_PROCESSOR
# The virtual device has no encoder of its own, and an emulated processor.
LIMIT_S = 180


def camera(relay: DeviceStack) -> dict:
    """The first camera that the device offers."""
    inputs = wait_for(
        "the device offers a camera",
        lambda: [i for i in relay.status().get("media_inputs", []) if i["id"].startswith("v4l2:")],
        LIMIT_S,
    )
    return inputs[0]


@pytest.fixture(scope="module")
def live(enrolled: Device, relay: DeviceStack) -> Live:
    """The camera, live, with segments."""
    stream = relay.go_live_small({"kind": "camera", "input": camera(relay)["id"]})
    relay.wait_until_live(stream, LIMIT_S)
    wait_for("segments to play", lambda: len(relay.playlist(stream).segments) >= 3, LIMIT_S, every_s=1)
    return stream


@pytest.mark.needs("camera")
def test_a_camera_is_played_at_the_relay(live: Live, folder: Path):
    probe = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", live.playlist]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    streams = {stream["codec_type"]: stream for stream in json.loads(done.stdout)["streams"]}
    assert (streams["video"]["codec_name"], streams["video"]["width"]) == ("h264", 640)
    picture = folder / "frame.png"
    grab = ["ffmpeg", "-v", "error", "-y", "-i", live.playlist, "-frames:v", "1", picture]
    done = subprocess.run(grab, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr
    assert contrast(picture) > 20, "the picture is of one colour: look at it"


def contrast(picture: Path) -> float:
    """The standard deviation of a picture's luma: 0 is one colour."""
    command = ["ffmpeg", "-v", "error", "-i", picture, "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    luma = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    mean = sum(luma) / len(luma)
    return (sum((value - mean) ** 2 for value in luma) / len(luma)) ** 0.5


@pytest.mark.needs("camera")
def test_the_stream_has_two_links(live: Live, relay: DeviceStack):
    def links() -> list[dict]:
        stats = (relay.stream(live)["live"] or {}).get("stats") or {}
        return [link for link in stats.get("value", {}).get("links", []) if link["state"] == "up"]

    found = wait_for("two links are up", lambda: links() if len(links()) >= 2 else None, LIMIT_S, every_s=1)
    assert len({link["interface"] for link in found}) == len(found)


@pytest.mark.needs("camera", "link-switch")
def test_a_pulled_cable_does_not_end_the_stream(live: Live, relay: DeviceStack, device: Device):
    device.machine.set_link(1, up=False)
    try:
        newest = relay.playlist(live).segments[-1].sequence
        wait_for(
            "three more segments over the other link",
            lambda: relay.playlist(live).segments[-1].sequence >= newest + 3,
            LIMIT_S,
            every_s=1,
        )
        assert relay.stream(live)["state"] == "live"
    finally:
        device.machine.set_link(1, up=True)


@pytest.mark.needs("camera")
def test_an_agent_that_restarts_finds_its_stream_again(live: Live, relay: DeviceStack, device: Device):
    encoder = device.check("pidof strata-encoder").split()
    device.check("systemctl restart strata-agent.service", 180)
    relay.wait_online()
    assert device.check("pidof strata-encoder").split() == encoder
    assert relay.stream(live)["state"] == "live"


@pytest.mark.needs("camera")
def test_a_stopped_stream_is_over_on_the_device(live: Live, relay: DeviceStack, device: Device):
    ended = relay.stop_stream(live, LIMIT_S)
    assert ended["reason"] == "stopped_by_user", ended
    wait_for("the encoder is gone", lambda: device.run("pidof strata-encoder").code != 0, 60, every_s=1)
