"""The boot script, run by a real U-Boot over every state of its counters, damaged environments and power cuts."""

import itertools
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import fresh_folder
from rig.boot import COPY_BYTES, VIRTUAL, Machine

MAY_ENTER = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
pytestmark = pytest.mark.skipif(not MAY_ENTER, reason="entering the virtual device's toolbox needs root")

CUTS = int(os.environ.get("STRATA_BOOT_CUTS", "15"))


@pytest.fixture(scope="module")
def golden() -> Machine:
    """A disk with two good slots, to copy."""
    firmware = subprocess.run([VIRTUAL / "u-boot"], check=True, capture_output=True, text=True, timeout=1800).stdout
    return Machine(fresh_folder("boot"), Path(firmware.strip())).make()


@pytest.fixture
def machine(golden: Machine) -> Iterator[Machine]:
    """A machine of its own."""
    folder = Path(tempfile.mkdtemp(prefix="machine-", dir=golden.folder))
    yield golden.copy_to(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("order", ["A B", "B A"])
@pytest.mark.parametrize(("a", "b"), list(itertools.product(range(4), repeat=2)))
def test_every_state_of_the_counters(machine: Machine, order: str, a: int, b: int):
    left = {"A": a, "B": b}
    machine.set(BOOT_ORDER=order, BOOT_A_LEFT=a, BOOT_B_LEFT=b)
    booted = machine.boot()
    assert booted.payloads == 1, booted.console
    state = machine.state()
    slot = next((slot for slot in order.split() if left[slot] > 0), None)
    rounds = 0
    if slot is None:
        # Both used up: counted, filled up again, started over.
        slot, left, rounds = order.split(maxsplit=1)[0], {"A": 3, "B": 3}, 1
        assert "round 1, starting over" in booted.console
    left[slot] -= 1
    assert booted.chosen == [slot]
    assert (state["BOOT_A_LEFT"], state["BOOT_B_LEFT"]) == (str(left["A"]), str(left["B"]))
    assert (state["BOOT_ORDER"], state["strata_rounds"]) == (order, str(rounds))


@pytest.mark.parametrize(
    ("order", "a", "b", "slot"), [("A", 0, 2, "B"), ("B", 3, 0, "A"), ("A", 1, 3, "A"), ("", 0, 1, "B")]
)
def test_a_slot_that_is_not_in_the_order_is_the_last_resort(machine: Machine, order: str, a: int, b: int, slot: str):
    machine.set(BOOT_ORDER=order, BOOT_A_LEFT=a, BOOT_B_LEFT=b)
    booted = machine.boot()
    assert (booted.payloads, booted.chosen) == (1, [slot]), booted.console


@pytest.mark.parametrize(("before", "after"), [(8, "9"), (9, "1")])
def test_rounds_are_told_apart_and_never_end(machine: Machine, before: int, after: str):
    machine.set(BOOT_ORDER="A B", BOOT_A_LEFT=0, BOOT_B_LEFT=0, strata_rounds=before)
    assert machine.boot().payloads == 1
    assert machine.state()["strata_rounds"] == after


def test_the_first_boot_ever_has_no_state(machine: Machine):
    for copy in (0, 1):
        machine.damage(copy, bytes(COPY_BYTES))
    assert machine.boot().chosen == ["A"]
    assert machine.state()["BOOT_A_LEFT"] == "2"


@pytest.mark.parametrize(("path", "why"), [("boot/Image", "kernel-missing"), ("boot/initrd", "initrd-missing")])
@pytest.mark.parametrize("slot", ["A", "B"])
def test_a_slot_without_its_files_is_passed_over_with_the_reason(machine: Machine, slot: str, path: str, why: str):
    other = "B" if slot == "A" else "A"
    machine.set(BOOT_ORDER=f"{slot} {other}", BOOT_A_LEFT=3, BOOT_B_LEFT=3)
    machine.remove(slot, path)
    booted = machine.boot()
    assert (booted.passed_over, booted.chosen, booted.payloads) == ({slot: why}, [other], 1), booted.console
    state = machine.state()
    assert (state[f"BOOT_{slot}_LEFT"], state[f"BOOT_{other}_LEFT"]) == ("0", "2")


def test_a_kernel_that_hangs_three_times_gives_way(machine: Machine):
    machine.set(BOOT_ORDER="B A", BOOT_A_LEFT=3, BOOT_B_LEFT=3)
    # The payload never gives the attempt back, like a system that never gets well.
    assert [machine.boot().chosen for _ in range(5)] == [["B"], ["B"], ["B"], ["A"], ["A"]]


@pytest.mark.parametrize("copy", [0, 1])
@pytest.mark.parametrize("part", ["all", "checksum", "half"])
def test_one_damaged_copy_of_the_state_costs_nothing(machine: Machine, copy: int, part: str):
    machine.set(BOOT_ORDER="B A", BOOT_A_LEFT=1, BOOT_B_LEFT=2)
    machine.set(strata_rounds=0)
    data, at = {"all": (b"\xa5" * COPY_BYTES, 0), "checksum": (b"\xff" * 4, 0), "half": (b"\x5a" * 0x4000, 0x4000)}[
        part
    ]
    machine.damage(copy, data, at)
    assert machine.boot().chosen == ["B"]
    assert machine.state()["BOOT_B_LEFT"] == "1"


def test_power_cuts_while_booting_never_lose_the_state(machine: Machine):
    seed = int(os.environ.get("STRATA_SEED", random.randrange(1 << 32)))
    print(f"STRATA_SEED={seed}")
    chance = random.Random(seed)
    machine.set(BOOT_ORDER="B A", BOOT_A_LEFT=3, BOOT_B_LEFT=3, strata_rounds=7)
    for number in range(CUTS):
        machine.boot(cut_after_s=chance.uniform(0.1, 1.5))
        state = machine.state()
        told = f"cut {number} of seed {seed}: {state}"
        assert state["strata_rounds"] in {"7", "8", "9", "1", "2", "3", "4"}, told
        assert state["BOOT_ORDER"] == "B A", told
        assert {state["BOOT_A_LEFT"], state["BOOT_B_LEFT"]} <= {"0", "1", "2", "3"}, told
    assert machine.boot().payloads == 1
