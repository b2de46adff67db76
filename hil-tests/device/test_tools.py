"""The tools of the device tests do what they say; needs no device."""

import hashlib
import http.client
import os
import pty
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from device.conftest import fresh
from rig.boot import MIB, RAN, VIRTUAL
from rig.boot import Machine as BootMachine
from rig.processes import read_process
from rig.vm.image import Disk, sparse_copy
from rig.vm.machine import Machine, MachineEnded
from rig.vm.server import Fault, FileServer
from rig.vm.shell import CommandFailed, Shell
from rig.waiting import TimedOut, wait_for

pytestmark = pytest.mark.tools


class LocalShell:
    """bash on a pseudo terminal in the console's place, and somebody who prints into it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        # The prompt is as a root shell's on a device.
        self.process = subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "PS1": "root@strata:~# ", "TERM": "vt220"},
            start_new_session=True,
        )
        self.slave = slave
        os.set_blocking(self.master, False)

    def read(self, timeout_s: float) -> bytes:
        """As a console."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return os.read(self.master, 4096)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return b""
                threading.Event().wait(0.005)

    def write(self, data: bytes) -> None:
        """As a console."""
        os.write(self.master, data)

    def end(self) -> None:
        """Leave nothing."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalShell]:
    monkeypatch.setattr("rig.vm.shell.KEEP", str(tmp_path / "hil"))
    made = LocalShell()
    yield made
    made.end()


def test_a_shell_gives_status_and_exact_output(line: LocalShell):
    shell = Shell(line).attach(120)
    answer = shell.run("printf 'a\\tb\\n  c $x'; echo wrong >&2; exit 7")
    assert (answer.code, answer.output, answer.errors) == (7, "a\tb\n  c $x", "wrong\n")
    assert shell.check('echo it\\\'s "$((6 * 7))"') == "it's 42\n"
    with pytest.raises(CommandFailed, match="status 3"):
        shell.check("exit 3")


def test_a_shell_is_not_confused_by_what_others_print(line: LocalShell):
    shell = Shell(line).attach(120)
    ended = threading.Event()

    def print_now_and_then() -> None:
        while not ended.wait(0.02):
            os.write(line.slave, b"\r\n[   12.345678] a driver: says something\r\n")

    noise = threading.Thread(target=print_now_and_then)
    noise.start()
    try:
        for count in range(5):
            assert shell.check(f"seq {count * 100}") == "".join(f"{n + 1}\n" for n in range(count * 100))
    finally:
        ended.set()
        noise.join()


def test_a_shell_carries_files_and_long_commands(line: LocalShell, tmp_path: Path):
    shell = Shell(line).attach(120)
    data = os.urandom(20_000)
    shell.put(str(tmp_path / "file"), data, 0o600)
    assert (tmp_path / "file").read_bytes() == data
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert shell.get(str(tmp_path / "file")) == data
    shell.put(str(tmp_path / "empty"), b"")
    assert shell.get(str(tmp_path / "empty")) == b""
    assert shell.check(f"echo {'x' * 9000} | wc -c").strip() == "9001"


def test_a_command_without_an_end_is_ended_and_the_shell_goes_on(line: LocalShell):
    shell = Shell(line).attach(120)
    with pytest.raises(TimedOut, match="sleep"):
        shell.run("sleep 600", limit_s=1)
    # What is typed behind an interrupt may be lost with it; it is typed again after 20 s.
    assert Shell(line).attach(120, booting=False).check("echo on") == "on\n"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileServer]:
    (tmp_path / "bundle").write_bytes(os.urandom(1_000_000))
    server = FileServer(tmp_path, "127.0.0.1").start()
    yield server
    server.stop()


def fetch(url: str, wanted: str = "") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": wanted} if wanted else {})) as answer:
        assert answer.status == (206 if wanted else 200)
        return answer.read()


def test_the_server_sends_ranges_and_counts(files: FileServer):
    whole = (files.folder / "bundle").read_bytes()
    assert fetch(files.url("bundle")) == whole
    assert fetch(files.url("bundle"), "bytes=10-19") == whole[10:20]
    assert fetch(files.url("bundle"), "bytes=999990-") == whole[-10:]
    assert files.sent["bundle"] == 1_000_020
    with pytest.raises(urllib.error.HTTPError, match="416"):
        fetch(files.url("bundle"), "bytes=1000000-")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        fetch(files.url("missing"))


def test_the_server_takes_files(files: FileServer):
    request = urllib.request.Request(files.url("up"), data=b"from the device", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 204
    assert (files.folder / "up").read_bytes() == b"from the device"


def test_the_server_vanishes_in_the_middle_and_comes_back(files: FileServer):
    files.faults["bundle"] = Fault(vanish_after=300_000)
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        fetch(files.url("bundle"))
    wait_for("the server is gone", lambda: not files.runs, 5)
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(files.url("bundle"))
    assert files.sent["bundle"] == 300_000
    files.faults.clear()
    files.start()
    digest = hashlib.sha256(fetch(files.url("bundle"))).digest()
    assert digest == hashlib.sha256((files.folder / "bundle").read_bytes()).digest()


@pytest.fixture(scope="module")
def small() -> Iterator[BootMachine]:
    """A small disk with the device's partitions, and a program in the kernel's place."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("entering the virtual device's toolbox needs root")
    firmware = subprocess.run([VIRTUAL / "u-boot"], check=True, capture_output=True, text=True, timeout=1800).stdout
    # The toolbox sees the project's folder and the target's, and has a /tmp of its own.
    machine = BootMachine(fresh("tools"), Path(firmware.strip())).make()
    yield machine
    for name in ("disk", "changed", "booted", "boot", "slot"):
        (machine.folder / name).unlink(missing_ok=True)


def test_a_disk_is_read_and_changed_while_it_is_off(small: BootMachine):
    sparse_copy(small.disk, small.folder / "changed")
    disk = Disk(small.folder / "changed")
    assert {n: (p.number, p.start, p.size) for n, p in disk.partitions.items()} == {
        "boot-state": (1, 16 * MIB, 2 * MIB),
        "boot": (2, 18 * MIB, 32 * MIB),
        "rootfs-a": (3, 50 * MIB, 16 * MIB),
        "rootfs-b": (4, 66 * MIB, 16 * MIB),
    }
    disk.write("boot-state", 100, b"here")
    assert disk.read("boot-state", 100, 4) == b"here"
    assert disk.path.stat().st_blocks * 512 < disk.path.stat().st_size / 2
    disk.set_machine_env(strata_args="a.word=1 another=2")
    assert disk.machine_env() == {"console": "ttyAMA0", "strata_args": "a.word=1 another=2"}
    assert disk.check("rootfs-a", "rootfs-b") == {}
    disk.debugfs("rootfs-a", "rm boot/initrd", write=True)
    with pytest.raises(ValueError, match="not found"):
        disk.debugfs("rootfs-a", "rm boot/initrd", write=True)
    # An inode that the bitmap says is free: nothing that a journal's replay repairs.
    disk.debugfs("rootfs-b", "freei boot/Image", write=True)
    assert list(disk.check("rootfs-a", "rootfs-b")) == ["rootfs-b"]
    disk.drop_partition("rootfs-b")
    assert list(disk.partitions) == ["boot-state", "boot", "rootfs-a"]


def test_a_machine_is_switched_on_and_off_and_its_power_is_cut(small: BootMachine):
    sparse_copy(small.disk, small.folder / "booted")
    machine = Machine(small.folder / "booted", small.firmware, small.folder / "machine")
    machine.on()
    assert machine.wait_off(60), machine.tail()
    assert RAN in machine.console_text.decode()
    machine.on()
    pid = machine._process.pid
    wait_for("the process is QEMU's own", lambda: read_process(pid).name.startswith("qemu-system"), 30)
    machine.tell("stop")
    assert machine.tell("query-status")["running"] is False
    machine.set_link(1, up=False)
    machine.cut()
    assert not machine.runs
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(MachineEnded):
        machine.write(b"x")
