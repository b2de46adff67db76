"""A device that is set up by QR codes held before its camera: the relay's with a token, and a Wi-Fi network's.

Real are the kernel's USB and camera drivers, the device's programs, NetworkManager and the relay; the camera at the
other end of the cable is made up (`rig.vm.usb_camera`).
"""

import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from rig.stack import Live, enrolment_link
from rig.vm.device import Device
from rig.vm.person import LIMIT_S, Person, open_page, say
from rig.vm.stack import DeviceStack
from rig.vm.usb_camera import UsbCamera, scene
from rig.vm.wifi import Neighbourhood
from rig.waiting import wait_for

pytestmark = pytest.mark.needs("qemu-disk", "console-shell")

HOME, PASSPHRASE = "Café; ☕", "four green boats 7"
WIFI_CODE = f"WIFI:T:WPA;S:{HOME.replace(';', chr(92) + ';')};P:{PASSPHRASE};;"
KEPT = "/identity/agent/enrolment-token"


@pytest.fixture(scope="module")
def near(person: Person) -> Neighbourhood:
    """A new device near its owner's router, with a place for a camera."""
    near = person.near
    near.device.machine.usb = True
    near.device.boot()
    near.begin()
    near.home.offer(HOME, PASSPHRASE)
    return near


@pytest.fixture(scope="module")
def camera(near: Neighbourhood, folder: Path) -> UsbCamera:
    """The camera, not yet plugged in."""
    made = UsbCamera(folder / "usb.log")
    made.attach(near.device.machine.redirected)
    return made


def encoders(device: Device) -> list[str]:
    """The processes that have a camera open."""
    return device.run("pidof strata-encoder").output.split()


def told(device: Device, what: str) -> int:
    """How often the agent said this since the start."""
    return device.journal("-b -o cat -u strata-agent.service").count(what)


def test_a_camera_plugged_in_is_looked_through(near: Neighbourhood, camera: UsbCamera, person: Person, folder: Path):
    assert encoders(near.device) == []
    camera.plug()
    wait_for("the kernel has a camera", lambda: near.device.run("test -e /dev/video0").code == 0, LIMIT_S, every_s=1)
    wait_for("it is looked through", lambda: camera.frames >= 3, LIMIT_S)
    assert len(encoders(near.device)) == 1
    near.phone.leave()
    person.join()
    with person.mini_browser() as page:
        open_page(page, "/")
        expect(page.get_by_text("Made-up camera")).to_be_visible()
        page.screenshot(path=folder / "start.png", full_page=True)


def test_codes_that_are_not_for_it_do_nothing(near: Neighbourhood, camera: UsbCamera, person: Person):
    ssid, passphrase = person.label()
    camera.picture = scene("https://example.org/menu")
    wait_for("a code is seen", lambda: told(near.device, "neither a Wi-Fi network's nor a relay's"), LIMIT_S, every_s=1)
    camera.picture = scene(f"WIFI:T:WPA;S:{ssid};P:{passphrase};;")
    wait_for("its own label is seen", lambda: told(near.device, "this device's own network"), LIMIT_S, every_s=1)
    assert told(near.device, "somebody wants the network") == 0
    assert near.device.run(f"test -e {KEPT}").code != 0


def test_relay_and_network_by_codes_bring_it_online(near: Neighbourhood, camera: UsbCamera, relay: DeviceStack):
    token = relay.new_token()
    begun = time.monotonic()
    camera.picture = scene(enrolment_link(relay.relay_url, token))
    wait_for("the token is kept", lambda: near.device.run(f"test -s {KEPT}").code == 0, LIMIT_S, every_s=0.5)
    say(f"the relay's code was read after {time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    camera.picture = scene(WIFI_CODE)
    relay.wait_online(LIMIT_S)
    say(f"online {time.monotonic() - begun:.1f} s after the network's code was shown")
    for secret in (token, PASSPHRASE):
        assert secret not in near.device.journal("-b")
    # Online, it looks no more.
    wait_for("the camera is free", lambda: encoders(near.device) == [], 60, every_s=1)
    frames = camera.frames
    assert told(near.device, "somebody gave an enrolment token") == 1
    assert camera.frames == frames


@pytest.fixture(scope="module")
def live(near: Neighbourhood, camera: UsbCamera, relay: DeviceStack) -> Live:
    """The USB camera's picture, live."""
    inputs = relay.status()["media_inputs"]
    assert [(one["id"], one["label"]) for one in inputs] == [("v4l2:/dev/video0", "Made-up camera")], inputs
    camera.picture = scene(enrolment_link("wss://elsewhere.example", "not-this-one"))
    stream = relay.go_live_small({"kind": "camera", "input": inputs[0]["id"]})
    relay.wait_until_live(stream, LIMIT_S)
    return stream


def test_in_a_stream_its_codes_are_only_pictures(live: Live, near: Neighbourhood, camera: UsbCamera):
    frames = camera.frames
    wait_for("the camera is used", lambda: camera.frames > frames + 20, LIMIT_S)
    assert told(near.device, "somebody gave an enrolment token") == 1
    assert near.device.run(f"test -e {KEPT}").code != 0


def test_a_camera_pulled_out_comes_back_into_the_stream(live: Live, camera: UsbCamera, relay: DeviceStack):
    camera.unplug()
    wait_for("no input is listed", lambda: relay.status()["media_inputs"] == [], LIMIT_S, every_s=0.5)
    wait_for("its loss is told", lambda: "gives nothing" in str(relay.events(live)), LIMIT_S, every_s=0.5)
    frames = camera.frames
    camera.plug()
    wait_for("the camera is used again", lambda: camera.frames > frames + 20, LIMIT_S, every_s=0.5)
    assert relay.stream(live)["state"] == "live", relay.events(live)
