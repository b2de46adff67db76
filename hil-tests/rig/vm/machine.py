"""A virtual device that runs: QEMU with one disk on two controllers.

U-Boot has it as an SD card, as on the board, with its environment on it; Linux has the same disk as a virtio device, as
QEMU's SD card moves 4 MB a second. Only one of the two runs at a time.

Owns QEMU's command line, its process, its console and its monitor. The power cut is SIGKILL: what QEMU had handed to
the host's file is kept, what it had not is lost; a card's own cache that lies about its writes is not imitated.
Does not know what runs in the device.
"""

import contextlib
import json
import os
import re
import select
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .. import processes
from ..boot import VIRTUAL

# Quick to emulate: a boot takes 52 s of the host's processor time, with QEMU's Cortex-A53, A76 or Neoverse-N1 77 s. It
# is newer than an RK3588: whether anything needs instructions that one lacks is seen on an OLD_PROCESSOR only.
PROCESSOR = "max,pauth=off,sve=off,sme=off,lpa2=off"
OLD_PROCESSOR = "cortex-a53"
# The device reaches the host under this address, and the host's loopback behind it.
HOST = "10.0.2.2"
GUEST_ADDRESSES = ("10.0.2.15", "10.0.2.65")
# The third network card, where there is one: not for the device, but for a test that speaks from within it.
TUNNEL_NETWORK, TUNNEL_ADDRESS, TUNNEL_MAC = "10.0.9.0/24", "10.0.9.15", "52:54:00:12:34:60"


class MachineEnded(OSError):
    """QEMU is gone."""


@dataclass
class Machine:
    """One virtual device; on and off as often as one likes."""

    disk: Path
    firmware: Path
    folder: Path
    memory_mb: int = 1024
    processors: int = 2
    processor: str = PROCESSOR
    # Whether there is the third network card, for `forward`.
    tunnel: bool = False
    # Network cables that are out when it is switched on.
    unplugged: tuple[int, ...] = ()
    # Whether it has a USB controller, for `plug_serial` and for a device of ours (`usb_redirection`).
    usb: bool = False
    # Our ends of what is plugged in there; others after each `on`.
    serial: socket.socket | None = None
    redirected: socket.socket | None = None
    console_text: bytearray = field(default_factory=bytearray)
    _process: subprocess.Popen | None = None
    _console: socket.socket | None = None
    _monitor: socket.socket | None = None
    _reader: threading.Thread | None = None
    _news: threading.Condition = field(default_factory=threading.Condition)
    _read_up_to: int = 0
    _wake: tuple[int, int] | None = None

    @property
    def log(self) -> Path:
        """The console's text of all runs."""
        return self.folder / "console.log"

    def command(self, monitor: int, usb: tuple[int, int] | None = None) -> list[str]:
        """QEMU's command line; file descriptors of its monitor, and of the serial port and the other device at USB."""
        options = ["-M", "virt", "-cpu", self.processor, "-accel", "tcg,thread=multi,tb-size=512"]
        options += ["-smp", str(self.processors), "-m", str(self.memory_mb), "-nodefaults", "-nographic"]
        options += ["-bios", str(self.firmware)]
        # Nothing that the host could lose between two runs: `cache=unsafe` only spares the host's own disk.
        for name in ("sd", "virtio"):
            options += ["-drive", f"if=none,id={name},format=raw,cache=unsafe,file.locking=off,file={self.disk}"]
        options += ["-device", "sdhci-pci", "-device", "sd-card,drive=sd", "-device", "virtio-blk-pci,drive=virtio"]
        for number, address in enumerate(GUEST_ADDRESSES):
            # Two links in the same subnet, as two modems of one make are.
            options += ["-netdev", f"user,id=n{number},dhcpstart={address}"]
            options += ["-device", f"virtio-net-pci,netdev=n{number},romfile=,id=link{number}"]
        if self.tunnel:
            options += ["-netdev", f"user,id=tunnel,net={TUNNEL_NETWORK},dhcpstart={TUNNEL_ADDRESS}"]
            options += ["-device", f"virtio-net-pci,netdev=tunnel,romfile=,id=tunnel0,mac={TUNNEL_MAC}"]
        if usb is not None:
            serial, redirected = usb
            options += ["-device", "qemu-xhci", "-chardev", f"socket,id=serial,fd={serial}"]
            options += ["-chardev", f"socket,id=redirected,fd={redirected}", "-device", "usb-redir,chardev=redirected"]
        options += ["-device", "virtio-rng-pci", "-device", "i6300esb", "-action", "watchdog=reset"]
        options += ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]
        options += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
        return [str(VIRTUAL / "in-toolbox"), "qemu-system-aarch64", *options]

    # --- power ------------------------------------------------------------------------------------------------------

    @property
    def runs(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    def on(self) -> None:
        """Power on."""
        if self.runs:
            return
        self._forget()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._console, console = socket.socketpair()
        self._monitor, monitor = socket.socketpair()
        self._monitor.settimeout(30)
        self.serial, serial = socket.socketpair()
        self.redirected, redirected = socket.socketpair()
        with console, monitor, serial, redirected, (self.folder / "qemu.log").open("ab") as errors:
            # unshare, chroot and sh replace themselves: the process is QEMU's own.
            self._process = subprocess.Popen(
                self.command(monitor.fileno(), (serial.fileno(), redirected.fileno()) if self.usb else None),
                stdin=console,
                stdout=console,
                stderr=errors,
                pass_fds=(monitor.fileno(), serial.fileno(), redirected.fileno()),
                preexec_fn=processes.die_with_parent,  # noqa: PLW1509 - it makes one system call
                start_new_session=True,
            )
        self._greeted = False
        with self._news:
            self._read_up_to = len(self.console_text)
        self._wake = os.pipe()
        self._reader = threading.Thread(target=self._read_console, name="console", daemon=True)
        self._reader.start()
        for number in self.unplugged:
            self.set_link(number, up=False)

    def cut(self) -> None:
        """Cut the power, now."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
        self._forget()

    def wait_off(self, limit_s: float) -> bool:
        """Wait until it switched itself off; whether it did."""
        if self._process is None:
            return True
        try:
            self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return False
        self._forget()
        return True

    def _forget(self) -> None:
        """Collect a QEMU that ended, with its sockets and its thread."""
        if self._process is None:
            return
        self._process.wait()
        self._process = None
        os.write(self._wake[1], b"x")
        self._reader.join()
        for descriptor in self._wake:
            os.close(descriptor)
        for line in (self._console, self._monitor, self.serial, self.redirected):
            line.close()

    # --- monitor ----------------------------------------------------------------------------------------------------

    def tell(self, command: str, **arguments: object) -> object:
        """A command of QEMU's machine protocol (QMP), answered."""
        if not self.runs:
            raise MachineEnded("the machine is off")
        if not self._greeted:
            self._answer("QMP")
            self._greeted = True
            self._ask("qmp_capabilities", {})
        return self._ask(command, arguments)

    def _ask(self, command: str, arguments: dict) -> object:
        self._monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        return self._answer("return")

    def _answer(self, key: str) -> object:
        line = b""
        while True:
            byte = self._monitor.recv(1)
            if not byte:
                raise MachineEnded(f"QEMU's monitor is closed: {processes.tail(self.folder / 'qemu.log')}")
            line += byte
            if byte != b"\n":
                continue
            message = json.loads(line)
            if "error" in message:
                raise ValueError(f"QEMU refused: {message['error']['desc']}")
            if key in message:
                return message[key]
            line = b""

    def reset(self) -> None:
        """The reset button."""
        self.tell("system_reset")

    def set_link(self, number: int, up: bool) -> None:
        """Plug a network cable in or out."""
        self.tell("set_link", name=f"link{number}", up=up)

    def plug_serial(self) -> None:
        """Plug a serial port (FTDI's) into USB: `serial` is its other end."""
        self.tell("device_add", driver="usb-serial", id="serial0", chardev="serial")

    def unplug_serial(self) -> None:
        """Pull it out."""
        self.tell("device_del", id="serial0")

    def forward(self, port: int) -> int:
        """A port of the host's loopback that leads to this one of the third network card.

        QEMU takes each connection itself, before the other end is asked: one that is refused ends at once.
        """
        # Port 0: the host's kernel finds a free one.
        said = self.tell(
            "human-monitor-command", **{"command-line": f"hostfwd_add tunnel tcp:127.0.0.1:0-{TUNNEL_ADDRESS}:{port}"}
        )
        listed = self.tell("human-monitor-command", **{"command-line": "info usernet"})
        found = re.findall(rf"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+{TUNNEL_ADDRESS}\s+{port}\s", listed)
        if not found:
            raise ValueError(f"QEMU did not forward port {port}: {said}{listed}")
        return int(found[-1])

    # --- console ----------------------------------------------------------------------------------------------------

    def _read_console(self) -> None:
        """Reads all the time, or QEMU would wait for a reader and the device with it."""
        console, wake = self._console, self._wake[0]
        with self.log.open("ab") as log:
            while True:
                ready, _, _ = select.select([console, wake], [], [])
                data = b""
                if console in ready:
                    with contextlib.suppress(ConnectionResetError):
                        data = console.recv(65536)
                if not data:
                    break
                log.write(data)
                log.flush()
                with self._news:
                    self.console_text += data
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def read(self, timeout_s: float) -> bytes:
        """What the console said since the last call; empty when it stays silent."""
        deadline = time.monotonic() + timeout_s
        with self._news:
            while self._read_up_to == len(self.console_text):
                left = deadline - time.monotonic()
                if not self._reader or not self._reader.is_alive():
                    raise MachineEnded(f"the machine is off; it said last:\n{self.tail()}")
                if left <= 0:
                    return b""
                # Woken by the reader; the limit catches its end.
                self._news.wait(min(left, 1.0))
            data = bytes(self.console_text[self._read_up_to :])
            self._read_up_to = len(self.console_text)
        return data

    def write(self, data: bytes) -> None:
        """Type on the console."""
        if not self.runs:
            raise MachineEnded(f"the machine is off; it said last:\n{self.tail()}")
        self._console.sendall(data)

    def tail(self, lines: int = 15) -> str:
        """The console's last lines, for people."""
        return "\n".join(self.console_text[-8000:].decode(errors="replace").replace("\r", "").splitlines()[-lines:])
