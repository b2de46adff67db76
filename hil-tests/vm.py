"""`./dev vm`: the virtual device with its console here and a relay beside it, until Ctrl-] or its own power-off.

Standard library only, like the demo. Nothing outlives it: see `rig.processes.guarded`.
"""

import argparse
import contextlib
import os
import select
import shlex
import shutil
import sys
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

from rig import processes
from rig.stack import StepFailed
from rig.vm.image import Disk, Image, ImageMissing, target_folder
from rig.vm.machine import Machine, MachineEnded
from rig.vm.shell import CommandFailed, Shell
from rig.vm.stack import DeviceStack
from rig.waiting import TimedOut, wait_for

BEGIN = time.monotonic()
LEAVE = b"\x1d"
BOOT_LIMIT_S = 300


def say(text: str) -> None:
    """A line of progress, with the time since the start."""
    print(f"[{time.monotonic() - BEGIN:6.1f} s] {text}", flush=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="./dev vm", description="The virtual device, its console here.")
    parser.add_argument("--state", type=Path, default=target_folder() / "virtual" / "vm", help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, default=1024, metavar="MB", help="the device's memory (1024)")
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def start(given: argparse.Namespace) -> tuple[DeviceStack, Machine]:
    """A relay, and a device with a fresh disk that is off."""
    shutil.rmtree(given.state, ignore_errors=True)
    image = Image.built()
    disk: Disk = image.copy_to(given.state / "disk.img")
    stack = DeviceStack(given.state / "relay", say=say, device_name="Virtual device")
    stack.folder.mkdir()
    return stack, Machine(disk.path, image.firmware, given.state, given.memory)


def enrol(stack: DeviceStack, shell: Shell) -> None:
    """What a person does with the token that the relay shows."""
    ready = "systemctl is-active --quiet strata-agent.service"
    wait_for("the device's agent is ready", lambda: shell.run(ready).code == 0, BOOT_LIMIT_S, every_s=1)
    shell.put("/run/hil/relay-ca.pem", stack.authority.read_bytes())
    token = shlex.quote(stack.new_token())
    words = f"strata-agent enrol --relay {stack.relay_url} --ca /run/hil/relay-ca.pem"
    shell.check(f"printf %s {token} | {words}")
    stack.wait_online()


@contextlib.contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key goes to the device, Ctrl-C too."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def connect(machine: Machine, until: float) -> None:
    """Console and terminal, until Ctrl-], the end of the input, or the device's power-off."""
    with raw_terminal():
        while machine.runs and time.monotonic() < until:
            ready, _, _ = select.select([sys.stdin], [], [], 0.02)
            if ready:
                keys = os.read(sys.stdin.fileno(), 1024)
                if not keys or LEAVE in keys:
                    return
                machine.write(keys)
            os.write(sys.stdout.fileno(), machine.read(0.02))


def run(given: argparse.Namespace) -> int:
    """All of it; the exit status."""
    stack, machine = start(given)
    try:
        stack.start()
        say("The device is switched on; its console so far is in " + str(machine.log))
        machine.on()
        shell = Shell(machine).attach(BOOT_LIMIT_S)
        say("The device has booted")
        enrol(stack, shell)
        print(
            f"\n  Device   {stack.api.base}/devices/{stack.device_id}\n"
            f"  Log in   {stack.email}\n  Password {stack.password}\n"
            f"  Its certificate is of this run: the browser warns, or trust {stack.authority}\n"
            f"  State    {given.state}\n\n  The device's console follows; Ctrl-] ends all.\n",
            flush=True,
        )
        shell.give_back()
        machine.write(b"\n")
        with contextlib.suppress(MachineEnded):
            connect(machine, time.monotonic() + given.seconds if given.seconds else float("inf"))
        print(flush=True)
        say("Ending everything")
        return 0
    finally:
        machine.cut()
        stack.stop()


def body(given: argparse.Namespace) -> int:
    """The run, with its failures in words."""
    try:
        return run(given)
    except (ImageMissing, StepFailed, TimedOut, CommandFailed, MachineEnded) as error:
        print(f"\n✗ {error}", file=sys.stderr, flush=True)
        print(f"  Logs are in {given.state}; ./dev help", file=sys.stderr, flush=True)
        return 1


if __name__ == "__main__":
    chosen = arguments()
    sys.exit(processes.guarded(lambda: body(chosen)))
