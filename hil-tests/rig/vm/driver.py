"""labgrid's view of the virtual device: a power switch, a console and a root shell, as a board on a desk has them.

Owns the translation only: the machine is `machine`, the shell is `shell`. The board's drivers are labgrid's own.
"""

import attr
import pexpect
from labgrid.driver import Driver
from labgrid.driver.commandmixin import CommandMixin
from labgrid.driver.consoleexpectmixin import ConsoleExpectMixin
from labgrid.factory import target_factory
from labgrid.protocol import CommandProtocol, ConsoleProtocol, FileTransferProtocol, PowerProtocol, ResetProtocol
from labgrid.step import step

from .image import Disk, Image
from .machine import Machine
from .shell import Shell


@target_factory.reg_driver
@attr.s(eq=False)
class VirtualDeviceDriver(ConsoleExpectMixin, Driver, PowerProtocol, ResetProtocol, ConsoleProtocol):
    """QEMU with a copy of the image; `renew` gives it a fresh one."""

    memory_mb = attr.ib(default=1024, validator=attr.validators.instance_of(int))
    processors = attr.ib(default=2, validator=attr.validators.instance_of(int))
    txdelay = attr.ib(default=0.0, validator=attr.validators.instance_of(float))
    txchunk = attr.ib(default=1, validator=attr.validators.instance_of(int))

    def __attrs_post_init__(self):
        super().__attrs_post_init__()
        self.image = None
        self.machine = None

    def renew(self, folder) -> Disk:
        """A fresh disk in a folder, and a machine for it that is off."""
        self.off()
        if self.image is None:
            self.image = Image.built()
        folder.mkdir(parents=True, exist_ok=True)
        disk = self.image.copy_to(folder / "disk.img")
        self.machine = Machine(disk.path, self.image.firmware, folder, self.memory_mb, self.processors)
        return disk

    @property
    def disk(self) -> Disk:
        """The machine's disk."""
        return Disk(self.machine.disk)

    def on_deactivate(self):
        """The target is given back: nothing goes on running."""
        self.off()

    # --- PowerProtocol, ResetProtocol -------------------------------------------------------------------------------

    @Driver.check_active
    @step()
    def on(self):
        """Power on."""
        self.machine.on()

    @step()
    def off(self):
        """Cut the power."""
        if self.machine:
            self.machine.cut()

    @Driver.check_active
    @step()
    def cycle(self):
        """Cut the power, and on again."""
        self.off()
        self.on()

    @Driver.check_active
    @step()
    def reset(self):
        """The reset button."""
        self.machine.reset()

    # --- ConsoleProtocol --------------------------------------------------------------------------------------------

    def _read(self, size: int = 1, timeout: float = 0.0, max_size: int | None = None) -> bytes:
        data = self.machine.read(timeout)
        if not data:
            raise pexpect.TIMEOUT(f"nothing on the console for {timeout} s")
        return data

    def _write(self, data: bytes) -> int:
        self.machine.write(data)
        return len(data)


class _Console:
    """A labgrid console as `shell` wants it."""

    def __init__(self, console) -> None:
        self._console = console

    def read(self, timeout_s: float) -> bytes:
        """What came meanwhile."""
        try:
            return self._console.read(timeout=timeout_s, size=1, max_size=65536)
        except pexpect.TIMEOUT:
            return b""

    def write(self, data: bytes) -> None:
        """Type."""
        self._console.write(data)


@target_factory.reg_driver
@attr.s(eq=False)
class ConsoleShellDriver(CommandMixin, Driver, CommandProtocol, FileTransferProtocol):
    """A root shell on the console. labgrid's own takes output as it comes, mixed with the kernel's."""

    bindings = {"console": ConsoleProtocol}  # noqa: RUF012 - labgrid reads it from the class
    boot_limit_s = attr.ib(default=300, validator=attr.validators.instance_of(int))

    def on_activate(self):
        """Wait for the shell of a device that boots."""
        self.shell = Shell(_Console(self.console)).attach(self.boot_limit_s)

    def find_again(self):
        """The shell of a device that has booted meanwhile; nothing but a shell is on the console."""
        self.shell.attach(self.boot_limit_s, booting=False)

    def _run(self, cmd, *, timeout=120.0, codec="utf-8", decodeerrors="strict"):
        answer = self.shell.run(cmd, timeout)
        return answer.output.splitlines(), answer.errors.splitlines(), answer.code

    @Driver.check_active
    @step(args=["cmd"], result=True)
    def run(self, cmd, timeout=120.0, codec="utf-8", decodeerrors="strict"):
        """Output lines, error lines, status."""
        return self._run(cmd, timeout=timeout)

    @Driver.check_active
    @step(args=["cmd"])
    def launch(self, cmd):
        """A command that ends the shell; nothing is waited for."""
        self.shell.launch(cmd)

    def get_status(self):
        """Whether there is a shell."""
        return 1

    @Driver.check_active
    @step(args=["filename", "remotepath"])
    def put(self, filename, remotepath):
        """A small file to the device."""
        with open(filename, "rb") as file:  # noqa: PTH123 - labgrid gives a name
            self.shell.put(remotepath, file.read())

    @Driver.check_active
    @step(args=["filename", "destination"])
    def get(self, filename, destination):
        """A small file from the device."""
        with open(destination, "wb") as file:  # noqa: PTH123
            file.write(self.shell.get(filename))
