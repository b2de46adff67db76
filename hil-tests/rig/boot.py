"""The boot script under a real U-Boot in QEMU, with a program in the kernel's place that says it ran and powers off.

Owns: the disk it boots from (the partition contract, small), U-Boot's environment on it, one run.
"""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
VIRTUAL = ROOT / "device" / "virtual"
SCRIPT = ROOT / "device" / "rootfs" / "boot.cmd"
PAYLOAD = Path(__file__).parent / "payload.S"
RAN = "STRATA-PAYLOAD"
MIB = 1 << 20
# The partition boot-state begins here, with its two copies (fw_env.config, u-boot.config).
STATE_AT, COPIES, COPY_BYTES = 16 * MIB, (0, MIB), 0x8000

MAKE_DISK = r"""
set -euo pipefail
cd "$1"; script=$2 payload=$3
aarch64-linux-gnu-gcc -c "$payload" -o payload.o
aarch64-linux-gnu-objcopy -O binary payload.o payload
mkimage -A arm64 -T script -C none -n strata -d "$script" boot.scr >/dev/null
printf 'console=ttyAMA0\n' >machine.env
mkdir -p root/boot
cp payload root/boot/Image
echo initrd >root/boot/initrd
truncate -s 16M slot
mke2fs -q -t ext4 -d root slot
truncate -s 32M boot
mkfs.vfat -n BOOT boot >/dev/null
mcopy -i boot boot.scr machine.env ::
truncate -s 128M disk
sfdisk --quiet disk <<TABLE
label: gpt
start=16MiB, size=2MiB, name=boot-state
size=32MiB, name=boot, type=U, attrs=LegacyBIOSBootable
size=16MiB, name=rootfs-a
size=16MiB, name=rootfs-b
TABLE
dd if=boot of=disk bs=1M seek=18 conv=notrunc status=none
dd if=slot of=disk bs=1M seek=50 conv=notrunc status=none
dd if=slot of=disk bs=1M seek=66 conv=notrunc status=none
echo strata_rounds=0 | mkenvimage -r -s 0x8000 -o state -
for at in 16 17; do dd if=state of=disk bs=1M seek=$at conv=notrunc status=none; done
for at in 0 1; do echo "$PWD/disk $((0x1000000 + at * 0x100000)) 0x8000"; done >fw_env.config
"""
SLOT_AT = {"A": 50 * MIB, "B": 66 * MIB}


def in_toolbox(*command: object, cwd: Path | None = None, timeout: float = 600) -> str:
    """Run a command in the toolbox; what it printed."""
    done = subprocess.run(
        [str(VIRTUAL / "in-toolbox"), *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    assert done.returncode == 0, f"{command[:3]}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Booted:
    """One run, from power-on to the payload's power-off or the limit."""

    console: str
    payloads: int

    @property
    def chosen(self) -> list[str]:
        """The slots whose kernel was started, in order."""
        return [line.split()[2].rstrip(",") for line in self.lines("Strata: slot ") if "attempts left" in line]

    @property
    def passed_over(self) -> dict[str, str]:
        """Slots that could not be started, with the reason."""
        found = [line.split() for line in self.lines("Strata: slot ") if "passed over" in line]
        return {words[2]: words[-1] for words in found}

    def lines(self, start: str) -> list[str]:
        """The console's lines that begin so."""
        return [line for line in self.console.splitlines() if line.startswith(start)]


@dataclass
class Machine:
    """A disk, and the U-Boot that boots from it."""

    folder: Path
    firmware: Path
    disk: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = self.folder / "disk"

    def make(self) -> "Machine":
        """A new disk with two good slots."""
        in_toolbox("bash", "-c", MAKE_DISK, "make-disk", self.folder, SCRIPT, PAYLOAD)
        return self

    def copy_to(self, folder: Path) -> "Machine":
        """Another machine with the same disk."""
        other = Machine(folder, self.firmware)
        for name in ("disk", "fw_env.config"):
            shutil.copyfile(self.folder / name, folder / name)
        text = (folder / "fw_env.config").read_text().replace(str(self.folder), str(folder))
        (folder / "fw_env.config").write_text(text)
        return other

    def set(self, **state: object) -> None:
        """Write the environment as RAUC does: by fw_setenv."""
        script = "".join(f"{name}={value}\n" for name, value in state.items())
        (self.folder / "state.txt").write_text(script)
        in_toolbox("fw_setenv", "-c", self.folder / "fw_env.config", "-s", self.folder / "state.txt")

    def state(self) -> dict[str, str]:
        """The environment as Linux reads it."""
        text = in_toolbox("fw_printenv", "-c", self.folder / "fw_env.config")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def remove(self, slot: str, path: str) -> None:
        """Take a file out of a slot."""
        partition = f"{self.disk}?offset={SLOT_AT[slot]}"
        in_toolbox("debugfs", "-w", "-R", f"rm {path}", partition)

    def damage(self, copy: int, data: bytes, at: int = 0) -> None:
        """Overwrite a part of one copy of the environment."""
        with self.disk.open("r+b") as disk:
            disk.seek(STATE_AT + COPIES[copy] + at)
            disk.write(data)

    def copy_bytes(self, copy: int) -> bytes:
        """One copy of the environment, as it is on the disk."""
        with self.disk.open("rb") as disk:
            disk.seek(STATE_AT + COPIES[copy])
            return disk.read(COPY_BYTES)

    def command(self) -> list[str]:
        """QEMU's command line, within the toolbox."""
        options = ["-M", "virt", "-cpu", "cortex-a53", "-m", "256", "-nodefaults", "-nographic"]
        options += ["-serial", "stdio", "-monitor", "none"]
        options += ["-bios", str(self.firmware), "-device", "sdhci-pci"]
        options += ["-drive", f"if=none,id=sd,format=raw,file={self.disk}", "-device", "sd-card,drive=sd"]
        return [str(VIRTUAL / "in-toolbox"), "qemu-system-aarch64", *options]

    def boot(self, limit_s: float = 60, cut_after_s: float | None = None) -> Booted:
        """Power on; until it powers itself off, or the power is cut."""
        log = self.folder / "console.log"
        with (
            log.open("wb") as console,
            subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            ) as qemu,
        ):
            try:
                qemu.wait(limit_s if cut_after_s is None else cut_after_s)
            except subprocess.TimeoutExpired:
                # unshare, chroot and sh replace themselves: this is QEMU's own process.
                qemu.kill()
                assert cut_after_s is not None, f"not off after {limit_s:g} s:\n{log.read_text(errors='replace')}"
        text = log.read_text(errors="replace").replace("\r", "")
        return Booted(text, text.count(RAN))
