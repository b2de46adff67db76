"""Power cuts at random moments of what writes: each time a bootable, consistent device with its identity.

The power is cut by killing QEMU. Each cut prints its seed and its moment; STRATA_SEED=… STRATA_VM_CUTS=… repeats a run.
A cut's phase is its number modulo the phases: the five of a run by default have each of them once.
"""

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from rig.vm import variants
from rig.vm.bundles import Bundles
from rig.vm.device import KEY, Device
from rig.vm.server import FileServer
from rig.vm.stack import DeviceStack
from rig.vm.updates import OVER
from rig.waiting import wait_for

CUTS = int(os.environ.get("STRATA_VM_CUTS", "5"))
SEED = int(os.environ.get("STRATA_SEED", random.randrange(1 << 32)))
# What an emulated processor takes, beside other work.
BOOT_S, INSTALL_S = 40.0, 40.0
STEPS = {"waiting", "downloading", "installed", "reboot_pending", "verifying", *OVER}
MARK = "/data/media/mark"

# Migrates up to a newer image's schema, and down again with this image's.
FLIP = r"""
shipped=/usr/share/strata/settings.toml newer=/run/hil/newer.toml
sed 's/^steps = \[\]//; s/name = "hostname"/name = "network.name"/' $shipped >$newer
printf '%s\n' '[[steps]]' 'operations = [{ rename = { from = "hostname", to = "network.name" } }]' >>$newer
while true; do
    strata-settings --schema $newer migrate
    strata-settings migrate
done
"""

pytestmark = pytest.mark.needs("qemu-disk", "power-cut")


@dataclass(frozen=True)
class Scene:
    """What a phase may use."""

    device: Device
    relay: DeviceStack
    server: FileServer
    bundles: Bundles


def begin_install(scene: Scene) -> None:
    """An update, until somewhere between its first byte and the new system's first minute."""
    bundle = variants.good(scene.bundles)
    scene.relay.update(scene.server.url(bundle.path.name), bundle.version)


def begin_boot_state(scene: Scene) -> None:
    """The boot state, written all the time."""
    slot = "B" if scene.device.slot() == "A" else "A"
    scene.device.behind(f"while fw_setenv BOOT_{slot}_LEFT $((RANDOM % 3 + 1)); do :; done")


def begin_first_boot(scene: Scene) -> None:
    """A card that was just written; the device makes its identity and room for its data."""
    scene.device.renew()
    scene.device.power_on()


def begin_settings(scene: Scene) -> None:
    """Settings, migrated up and down all the time."""
    scene.device.behind(FLIP)


def begin_reset(scene: Scene) -> None:
    """A factory reset that keeps the identity, from its request to the end of the boot that does it."""
    scene.device.check(f"echo mark >{MARK} && sync")
    scene.relay.command("reset", keep_identity=True)


@dataclass(frozen=True)
class Phase:
    """What runs when the power goes, and for how long at most."""

    name: str
    begin: Callable[[Scene], None]
    most_s: float


PHASES = (
    Phase("install", begin_install, INSTALL_S + BOOT_S),
    Phase("boot state", begin_boot_state, 5),
    Phase("settings", begin_settings, 10),
    Phase("factory reset", begin_reset, BOOT_S + 10),
    Phase("first boot", begin_first_boot, BOOT_S),
)


@pytest.fixture(scope="module")
def cut_server(bundles: Bundles, device: Device) -> Iterator[FileServer]:
    """The bundles' server, for all cuts."""
    made = FileServer(bundles.folder, device.host, device.listen).start()
    yield made
    made.stop()


def make_ready(device: Device, relay: DeviceStack) -> None:
    """Running, enrolled and online, whatever the cut before left; after a first boot it is a new device."""
    if not device.machine.runs:
        device.boot()
    device.wait_agent()
    if not relay.device_id or device.run("test -s /identity/agent/enrolment.json").code != 0:
        relay.device_id = ""
        device.enrol(relay.relay_url, relay.authority, relay.new_token())
    relay.wait_online()


def wait_quiet(relay: DeviceStack) -> None:
    """Until an update that a cut interrupted has come to its end."""
    wait_for("no update is under way", lambda: relay.update_status().get("step") in (None, *OVER), 900, every_s=1)


def consistent(device: Device) -> None:
    """The file systems, as the next boot finds them."""
    # Before the first boot's own work the image's are there, and a card that is larger than they are.
    assert device.disk.check("identity", "data") == {}


def sane(device: Device) -> None:
    """It booted, everything runs, and what it keeps can be read."""
    assert device.wait_settled() == "running", device.check("systemctl --failed --no-legend --plain")
    device.wait_agent()
    status = device.update_status()
    assert status["booted"].upper() == device.slot()
    assert status["update"] is None or status["update"]["step"] in STEPS, status
    json.loads(device.check("strata-settings get --json"))
    assert device.check(f"stat -c %s {KEY}").strip() != "0"
    assert device.run("test -e /identity/reset.json").code != 0, "a factory reset is asked for and was not done"
    state = device.check("fw_printenv").splitlines()
    assert any(line.startswith("BOOT_ORDER=") for line in state), state


@pytest.mark.parametrize("number", range(CUTS))
def test_the_power_is_cut(number: int, device: Device, relay: DeviceStack, cut_server: FileServer, bundles: Bundles):
    phase = PHASES[number % len(PHASES)]
    moment = random.Random(f"{SEED}:{number}").uniform(0.0, phase.most_s)
    print(f"STRATA_SEED={SEED} cut {number}: {moment:.2f} s into {phase.name}")
    key = None
    asked = False
    if phase.begin is not begin_first_boot:
        make_ready(device, relay)
        wait_quiet(relay)
        device.find_shell()
        key = device.key()
    phase.begin(Scene(device, relay, cut_server, bundles))
    # The random moment is what is tested: nothing is waited for.
    threading.Event().wait(moment)
    device.cut()
    consistent(device)
    asked = device.disk.has("identity", "/reset.json")
    device.boot()
    sane(device)
    assert key in (None, device.key())
    if asked:
        assert device.run(f"test -e {MARK}").code != 0, "a factory reset left the user's files"
    if key:
        relay.wait_online()
