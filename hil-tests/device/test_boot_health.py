"""The image as it boots: nothing fails, nothing of ours complains, every unit is confined, and it costs little."""

import json
import re
from collections.abc import Iterator

import pytest

from device.conftest import fresh
from rig.vm.device import Device
from rig.vm.stack import DeviceStack

MAX_EXPOSURE = 3.0
MAX_MEMORY_MB = 60.0
MAX_SLOWER = 1.3
# Sums up what each process of our units has for itself, and its share of what is shared (proc(5), smaps_rollup).
MEMORY = r"""
for unit in /sys/fs/cgroup/system.slice/strata-*.service; do
    for pid in $(cat "$unit/cgroup.procs"); do
        size=$(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' /proc/$pid/smaps_rollup)
        echo "${unit##*/} $(cat /proc/$pid/comm) $size"
    done
done
"""


def test_no_unit_fails(booted: Device):
    state = booted.wait_settled()
    failed = booted.lines("systemctl --failed --plain --no-legend")
    told = "".join(booted.journal(f"-b -n 20 -u {line.split()[0]}") for line in failed)
    assert failed == [], told
    assert state == "running"


def test_units_have_no_ordering_cycle(booted: Device):
    lines = [line for line in booted.journal("-b -o cat").splitlines() if "ordering cycle" in line]
    assert lines == []


def test_nothing_of_ours_complains(booted: Device, relay: DeviceStack, enrolled: Device):
    # Enrolled and online: an agent without a relay has a reason to speak.
    assert booted.journal("-b -p err -u 'strata-*' -o short-monotonic") == ""
    about = [line for line in booted.journal("-b -p err -o cat").splitlines() if "strata" in line.lower()]
    assert about == []


def test_every_unit_is_confined(booted: Device):
    services = booted.our_services()
    assert "strata-agent.service" in services
    exposure = {}
    for service in services:
        text = booted.check(f"systemd-analyze security --no-pager {service}")
        exposure[service] = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)[1])
    print(json.dumps(exposure, indent=2))
    assert {name: level for name, level in exposure.items() if level > MAX_EXPOSURE} == {}


def test_idle_processes_are_small(booted: Device, enrolled: Device):
    lines = [line.split() for line in booted.lines(MEMORY)]
    assert any(name == "strata-agent" for _, name, _ in lines), lines
    total = sum(int(kilobytes) for _, _, kilobytes in lines) * 1024 / 1e6
    for unit, name, kilobytes in lines:
        print(f"{unit}: {name} {int(kilobytes) * 1024 / 1e6:.1f} MB")
    assert total <= MAX_MEMORY_MB, f"{total:.1f} MB"


def test_the_clock_does_not_go_back(booted: Device):
    # The board has no clock that runs without power; the image's own date is the least it may show.
    told = booted.check("date +%s; stat -c %Y /usr/lib/clock-epoch /usr/lib/strata/image.toml | sort -n | tail -n 1")
    now, built = (int(word) for word in told.split())
    assert now >= built


def test_ssh_is_off(booted: Device):
    listening = booted.check("cat /proc/net/tcp /proc/net/tcp6")
    ports = {int(line.split()[1].rpartition(":")[2], 16) for line in listening.splitlines() if ": " in line}
    assert 22 not in ports, listening


def test_the_root_is_read_only(booted: Device):
    assert "ro" in booted.check("findmnt -no OPTIONS /").strip().split(",")
    assert booted.run("touch /etc/strata/x").code != 0


def ready_s(device: Device) -> float:
    """When the agent was ready, in seconds since the kernel began."""
    device.wait_agent()
    return timestamp_s(device, "strata-agent.service")


def timestamp_s(device: Device, unit: str) -> float:
    """When a unit became active, in seconds since the kernel began."""
    text = device.check(f"systemctl show -p ActiveEnterTimestampMonotonic --value {unit}").strip()
    assert int(text) > 0, f"{unit} is not active"
    return int(text) / 1e6


@pytest.fixture
def bare(device: Device) -> Iterator[Device]:
    """The same image without our units, running."""
    ours = device.lines("systemctl list-unit-files --plain --no-legend 'strata-*' | cut -d' ' -f1")
    assert "strata-agent.service" in ours
    device.power_off()
    before = device.disk.machine_env()
    masks = " ".join(f"systemd.mask={unit}" for unit in ours)
    device.disk.set_machine_env(strata_args=f"{before.get('strata_args', '')} {masks}".strip())
    device.boot()
    yield device
    device.cut()
    device.disk.set_machine_env(**before)


@pytest.mark.needs("qemu-disk")
def test_the_agent_is_ready_soon(device: Device, booted: Device, request: pytest.FixtureRequest):
    # A second boot as in the field: the first one makes room for data and writes what is made once.
    device.reboot()
    with_us = ready_s(device)
    bare = request.getfixturevalue("bare")
    bare.wait_settled()
    without = timestamp_s(bare, "multi-user.target")
    told = f"agent ready after {with_us:.1f} s, the bare image after {without:.1f} s: {with_us / without:.2f} times"
    (fresh("times") / "boot.txt").write_text(told + "\n")
    print(told)
    assert with_us <= MAX_SLOWER * without, told
