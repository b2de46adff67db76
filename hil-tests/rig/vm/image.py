"""The image under test: where its files are, and disks made of it.

Owns the reading of a disk's partition table and the changes that are made to a disk while it is off, without
mounting. A disk is a sparse copy and not an overlay: a machine that is killed loses an overlay's own bookkeeping,
which is no fault of the device. Does not run machines.
"""

import os
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from ..boot import in_toolbox

ROOT = Path(__file__).resolve().parents[3]
SECTOR = 512
# A power of two, as QEMU's SD card wants it.
CARD_BYTES = 2 << 30
MIB = 1 << 20
# The two copies of the boot state, from the beginning of the partition boot-state (docs/device/boot.md).
STATE_COPIES = (0, MIB)


class ImageMissing(Exception):
    """The image was not built."""


def target_folder() -> Path:
    """Where cargo and the image's build put their results."""
    return ROOT / Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")


@dataclass(frozen=True)
class Keys:
    """The throw-away certificate authority of development, and its signer."""

    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that devices trust."""
        return self.folder / "ca.cert.pem"

    @property
    def authority_key(self) -> Path:
        """Its key."""
        return self.folder / "ca.key.pem"

    @property
    def signer(self) -> Path:
        """The certificate bundles are signed with."""
        return self.folder / "dev.cert.pem"

    @property
    def signer_key(self) -> Path:
        """Its key."""
        return self.folder / "dev.key.pem"


@dataclass(frozen=True)
class Image:
    """What `./dev image virtual` made."""

    folder: Path
    keys: Keys
    firmware: Path

    @classmethod
    def built(cls) -> "Image":
        """The image that is there."""
        virtual = target_folder() / "virtual"
        folder = virtual / "image"
        missing = [name for name in ("disk.img", "rootfs.ext4", "strata.raucb") if not (folder / name).is_file()]
        if missing:
            raise ImageMissing(f"{', '.join(missing)} not in {folder}: run `./dev image virtual`")
        firmware = next(virtual.glob("u-boot-*/out/u-boot.bin"), None)
        if firmware is None:
            raise ImageMissing(f"no U-Boot in {virtual}: run `./dev image virtual`")
        keys = Path(os.environ.get("STRATA_KEYS") or virtual / "keys")
        return cls(folder, Keys(keys), firmware)

    @property
    def disk(self) -> Path:
        """The whole disk, as it is written to a card."""
        return self.folder / "disk.img"

    @property
    def rootfs(self) -> Path:
        """The root file system alone."""
        return self.folder / "rootfs.ext4"

    @property
    def bundle(self) -> Path:
        """The signed bundle of the same version."""
        return self.folder / "strata.raucb"

    def copy_to(self, path: Path) -> "Disk":
        """A new card with this image, as if it had just been written; it is larger, as cards are."""
        sparse_copy(self.disk, path)
        os.truncate(path, CARD_BYTES)
        return Disk(path)


def sparse_copy(source: Path, target: Path) -> None:
    """Copy a file with its holes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", source, target], check=True, timeout=300)


@dataclass(frozen=True)
class Partition:
    """A partition's place on the disk, in bytes."""

    number: int
    name: str
    start: int
    size: int


def read_partitions(disk: Path) -> dict[str, Partition]:
    """The partitions of a GPT by name (UEFI specification 2.10, section 5.3)."""
    with disk.open("rb") as file:
        file.seek(SECTOR)
        header = file.read(92)
        if header[:8] != b"EFI PART":
            raise ValueError(f"{disk} has no GPT")
        first, count, size = struct.unpack_from("<QII", header, 72)
        file.seek(first * SECTOR)
        entries = file.read(count * size)
    found = {}
    for index in range(count):
        entry = entries[index * size : (index + 1) * size]
        if uuid.UUID(bytes_le=entry[:16]).int == 0:
            continue
        begin, last = struct.unpack_from("<QQ", entry, 32)
        name = entry[56:128].decode("utf-16-le").rstrip("\0")
        found[name] = Partition(index + 1, name, begin * SECTOR, (last - begin + 1) * SECTOR)
    return found


@dataclass(frozen=True)
class Disk:
    """A disk of a device that is off."""

    path: Path

    @property
    def partitions(self) -> dict[str, Partition]:
        """By name."""
        return read_partitions(self.path)

    def file_system(self, partition: str) -> str:
        """A partition as e2fsprogs names it."""
        return f"{self.path}?offset={self.partitions[partition].start}"

    def read(self, partition: str, at: int, count: int) -> bytes:
        """Bytes of a partition."""
        with self.path.open("rb") as file:
            file.seek(self.partitions[partition].start + at)
            return file.read(count)

    def write(self, partition: str, at: int, data: bytes) -> None:
        """Overwrite bytes of a partition."""
        with self.path.open("r+b") as file:
            file.seek(self.partitions[partition].start + at)
            file.write(data)

    def debugfs(self, partition: str, *commands: str, write: bool = False) -> str:
        """Run commands of debugfs(8) on a partition."""
        return debugfs(self.file_system(partition), *commands, write=write)

    def has(self, partition: str, path: str) -> bool:
        """Whether a file is there."""
        return "Type: regular" in self.debugfs(partition, f"stat {path}")

    def tune(self, partition: str, *options: str) -> None:
        """tune2fs(8) on a partition."""
        in_toolbox("tune2fs", *options, self.file_system(partition))

    def drop_partition(self, partition: str) -> None:
        """Take a partition out of the table; the last one leaves no hole."""
        in_toolbox("sfdisk", "--quiet", "--delete", self.path, self.partitions[partition].number)

    def machine_env(self) -> dict[str, str]:
        """What differs between machines, as the boot script reads it."""
        text = self.boot_file("machine.env")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def set_machine_env(self, **values: str) -> None:
        """Change it."""
        text = "".join(f"{name}={value}\n" for name, value in {**self.machine_env(), **values}.items())
        self.put_boot_file("machine.env", text)

    def boot_files(self) -> list[str]:
        """The names of the files on the boot partition, which people can write to."""
        return in_toolbox("mdir", "-b", "-i", self._boot_files(), "::").replace("::/", "").split()

    def boot_file(self, name: str) -> str:
        """The text of one."""
        return in_toolbox("mtype", "-i", self._boot_files(), f"::{name}")

    def put_boot_file(self, name: str, text: str) -> None:
        """Write one, as a person does whose computer has the card."""
        file = self.path.with_suffix(".boot-file")
        file.write_text(text)
        in_toolbox("mcopy", "-o", "-i", self._boot_files(), file, f"::{name}")
        file.unlink()

    def _boot_files(self) -> str:
        return f"{self.path}@@{self.partitions['boot'].start}"

    def check(self, *names: str) -> dict[str, str]:
        """What e2fsck says of partitions as the next boot finds them: journal replayed, then nothing left to repair.

        Answers the complaints by partition, empty where all is well; the disk itself stays as it is.
        """
        found = {}
        for name in names:
            place = self.partitions[name]
            script = 'set -e; rm -f "$1"; trap \'rm -f "$1"\' EXIT; truncate -s "$4" "$1"\n'
            script += 'dd if="$2" of="$1" bs=1M iflag=skip_bytes,count_bytes skip="$3" count="$4" conv=sparse,notrunc '
            script += "status=none\n"
            # 1 says that something was repaired, and the replay alone is that.
            script += 'e2fsck -p "$1" >"$1.first" 2>&1 || [ $? -le 1 ] || { cat "$1.first"; exit 9; }\n'
            script += 'e2fsck -fn "$1" >"$1.first" 2>&1 || { cat "$1.first"; exit 9; }\n'
            copy = self.path.with_suffix(f".{name}")
            try:
                in_toolbox("bash", "-c", script, "check", copy, self.path, place.start, place.size)
            except AssertionError as error:
                found[name] = str(error)
            copy.with_name(copy.name + ".first").unlink(missing_ok=True)
        return found


def debugfs(file_system: Path | str, *commands: str, write: bool = False) -> str:
    """Run commands of debugfs(8); it prints errors and goes on, so what it prints is looked at."""
    options = ["-w"] if write else []
    script = 'printf \'%s\\n\' "$@" >/tmp/commands; exec debugfs $OPTIONS -f /tmp/commands "$FILE" 2>&1'
    text = in_toolbox(
        "env", f"OPTIONS={' '.join(options)}", f"FILE={file_system}", "bash", "-c", script, "-", *commands
    )
    answers = [line for line in text.splitlines() if not line.startswith(("debugfs: ", "debugfs 1."))]
    wrong = [line for line in answers if any(word in line for word in ("File not found", "error", "Usage:", "Command"))]
    if write and wrong:
        raise ValueError(f"debugfs on {file_system}: {'; '.join(wrong)}")
    return "\n".join(answers)
