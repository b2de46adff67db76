"""The device under test, virtual or on a desk: what the tests do with it and ask it.

Owns the words of the device's own command lines and files, in one place. How its power, console and shell are reached
is labgrid's matter (`driver`, or a board's drivers), so a test says nothing of that.
"""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

import attr
from labgrid import Target
from labgrid.driver import Driver, ExecutionError, SSHDriver
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol, ConsoleProtocol, PowerProtocol
from labgrid.strategy import Strategy

from ..waiting import wait_for
from .driver import ConsoleShellDriver, VirtualDeviceDriver
from .image import Disk
from .machine import Machine
from .shell import Answer, CommandFailed

BOOT_LIMIT_S = 300
KEY = "/identity/agent/device.key"
OUR_UNITS = "strata-*"


@target_factory.reg_driver
@attr.s(eq=False)
class DeviceStrategy(Strategy):
    """Two states: off, and on with a shell."""

    bindings = {  # noqa: RUF012 - labgrid reads it from the class
        "power": PowerProtocol,
        "console": ConsoleProtocol,
        "shell": CommandProtocol,
    }

    def off(self) -> None:
        """Cut the power."""
        self.target.deactivate(self.shell)
        self.target.activate(self.power)
        self.power.off()
        if self.console is not self.power:
            self.target.deactivate(self.console)

    def on(self) -> None:
        """Power on, without waiting for anything."""
        self.target.activate(self.power)
        self.target.activate(self.console)
        self.power.on()

    def wait_shell(self) -> None:
        """Until there is a shell; a new one when the device has started again meanwhile."""
        self.target.deactivate(self.shell)
        if not isinstance(self.shell, SSHDriver):
            self.target.activate(self.shell)
            return

        def reachable() -> bool:
            try:
                self.target.activate(self.shell)
            except ExecutionError as error:
                raise OSError(str(error)) from error
            return True

        wait_for("the device answers by SSH", reachable, BOOT_LIMIT_S, every_s=2)


@dataclass
class Device:
    """One device, its shell attached or not."""

    target: Target
    folder: Path
    # The host as the device sees it, and where that listens.
    host: str
    listen: str

    def __post_init__(self) -> None:
        self.strategy: DeviceStrategy = self.target.get_driver("DeviceStrategy", activate=False)
        self.features: set[str] = set(self.target.env.config.get_targets()[self.target.name]["features"])

    # --- the virtual device alone -----------------------------------------------------------------------------------

    @property
    def virtual(self) -> VirtualDeviceDriver:
        """Its driver; only behind `needs("qemu-disk")` or `needs("qemu-monitor")`."""
        return self.target.get_driver("VirtualDeviceDriver")

    @property
    def machine(self) -> Machine:
        """QEMU."""
        return self.virtual.machine

    @property
    def disk(self) -> Disk:
        """Its disk, to be looked at and changed while the power is off."""
        return self.virtual.disk

    def renew(self) -> None:
        """As it left the factory, and off."""
        self.strategy.off()
        if "qemu-disk" in self.features:
            self.virtual.renew(self.folder)

    # --- power ------------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Power on, until there is a shell."""
        self.strategy.on()
        self.wait_shell()

    def power_on(self) -> None:
        """Power on, and nothing more."""
        self.strategy.on()

    def cut(self) -> None:
        """Cut the power."""
        self.strategy.off()

    def wait_shell(self) -> None:
        """Wait for the shell of a device that boots."""
        self.strategy.wait_shell()

    def find_shell(self) -> None:
        """The shell of a device that has booted by itself meanwhile."""
        shell = self.strategy.shell
        if isinstance(shell, ConsoleShellDriver):
            shell.find_again()
        else:
            self.wait_shell()

    def reboot(self) -> None:
        """Reboot as a person does, until there is a shell again."""
        before = self.boot_id()
        self.leave("systemctl reboot")
        self.wait_shell()
        assert self.boot_id() != before

    def leave(self, command: str) -> None:
        """Run a command that takes the shell away; it begins a moment after this returns."""
        self.behind(f"sleep 1; {command}")

    def behind(self, script: str) -> None:
        """Run a script behind the shell; its end is not waited for."""
        self.check(f"setsid bash -c {shlex.quote(script)} </dev/null >/dev/null 2>&1 & true")

    def power_off(self) -> None:
        """Switch it off as a person does."""
        self.leave("systemctl poweroff")
        if "qemu-disk" in self.features:
            assert self.machine.wait_off(180), f"it does not switch off:\n{self.machine.tail()}"
        self.cut()

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(self, command: str, limit_s: float = 120) -> Answer:
        """Run a command; how it ended."""
        driver: Driver = self.strategy.shell
        output, errors, code = driver.run(command, timeout=limit_s)
        return Answer(code, "\n".join(output), "\n".join(errors))

    def check(self, command: str, limit_s: float = 120) -> str:
        """Run a command that must end with status 0; its output."""
        answer = self.run(command, limit_s)
        if answer.code != 0:
            raise CommandFailed(f"`{command}`: status {answer.code}: {answer.output[-2000:]}{answer.errors[-2000:]}")
        return answer.output

    def lines(self, command: str, limit_s: float = 120) -> list[str]:
        """Run a command that must end with status 0; its lines, without empty ones."""
        return [line for line in self.check(command, limit_s).splitlines() if line.strip()]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Make a small file on the device."""
        file = self.folder / "to-put"
        file.write_text(text)
        self.strategy.shell.put(str(file), path)
        file.unlink()
        self.check(f"chmod {mode:o} {shlex.quote(path)}")

    # --- what it says of itself -------------------------------------------------------------------------------------

    def boot_id(self) -> str:
        """Other after each boot."""
        return self.check("cat /proc/sys/kernel/random/boot_id").strip()

    def slot(self) -> str:
        """The slot it runs from, as the boot script told the kernel."""
        words = self.check("cat /proc/cmdline").split()
        return next(word.partition("=")[2] for word in words if word.startswith("rauc.slot="))

    def version(self) -> str:
        """The running image's version."""
        return self.check("sed -n 's/^version *= *\"\\(.*\\)\"/\\1/p' /usr/lib/strata/image.toml").strip()

    def wait_settled(self, limit_s: float = BOOT_LIMIT_S) -> str:
        """Until the service manager has started everything; `running` or `degraded`."""
        return self.run("systemctl is-system-running --wait", limit_s).output.strip()

    def wait_agent(self, limit_s: float = BOOT_LIMIT_S) -> None:
        """Until the agent says that it is ready."""
        wait_for(
            "the agent is ready",
            lambda: self.run("systemctl is-active strata-agent.service").output.strip() == "active",
            limit_s,
            every_s=1,
        )

    def update_status(self) -> dict:
        """The update daemon's status."""
        told = json.loads(self.check("strata-update status --json"))
        return told.get("status", told)

    def problems(self) -> list[dict]:
        """What is wrong with the device, by itself."""
        return self.update_status()["problems"]

    def key(self) -> str:
        """The device's identity: a hash of its private key."""
        return self.check(f"sha256sum {KEY}").split()[0]

    def journal(self, options: str) -> str:
        """Lines of the journal."""
        return self.check(f"journalctl --no-pager -q {options}", 300)

    def our_services(self) -> list[str]:
        """Our units that are services, templates left out."""
        listed = self.lines(f"systemctl list-unit-files --plain --no-legend '{OUR_UNITS}.service'")
        return [line.split()[0] for line in listed if "@." not in line]

    # --- enrolment --------------------------------------------------------------------------------------------------

    def enrol(self, url: str, authority: Path, token: str) -> None:
        """Hand the relay's address, its certificate authority and a token to the agent, as a person does."""
        self.write("/run/hil/relay-ca.pem", authority.read_text())
        command = f"printf %s {shlex.quote(token)} | strata-agent enrol --relay {url} --ca /run/hil/relay-ca.pem"
        self.check(command)
