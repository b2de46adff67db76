"""The image is the same bytes wherever and whenever it is built, and one changed file changes one file.

Debian's root and other people's crates, which take minutes, are taken from the first build; STRATA_LONG=1 builds them
anew, too.
"""

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rig.boot import ROOT, in_toolbox
from rig.vm.image import Image, debugfs

from .conftest import RESULTS, fresh

pytestmark = pytest.mark.needs("qemu-disk")

CHANGED = "etc/sysctl.d/60-strata.conf"
# How the names of all that Cargo makes of our crates begin.
OUR_CRATES = ("strata", "libstrata", "gststrata", "libgststrata", "gst-plugin-strata")
# Building everything anew, on two cores.
LIMIT_S = 2400


@dataclass(frozen=True)
class Elsewhere:
    """The same source in another folder, built into another one."""

    folder: Path
    image: Image

    @property
    def source(self) -> Path:
        """Where the source lies."""
        return self.folder / "another-name-for-the-source"

    def build(self, *options: str) -> dict[str, str]:
        """Build the image; the sums of its files."""
        environment = {
            **os.environ,
            "CARGO_TARGET_DIR": str(self.folder / "target"),
            "STRATA_TOOLBOX": str(self.image.folder.parent / "toolbox"),
            "STRATA_KEYS": str(self.image.keys.folder),
        }
        command = [self.source / "device/virtual/image", *options]
        with (self.folder / "build.log").open("ab") as log:
            done = subprocess.run(command, env=environment, stdout=log, stderr=log, timeout=LIMIT_S)
        assert done.returncode == 0, (self.folder / "build.log").read_text()[-2000:]
        return sums(self.built)

    @property
    def built(self) -> Path:
        """Where the image is."""
        return self.folder / "target/virtual/image"


def sums(folder: Path) -> dict[str, str]:
    """The sums of an image's files, as its build wrote them."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """A copy of all that is under version control or about to be."""
    made = Elsewhere(fresh("elsewhere"), Image.built())
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            target = made.source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    if not os.environ.get("STRATA_LONG"):
        take_over(made.image.folder.parent, made.folder / "target/virtual")
    yield made
    for name in ("target", made.source.name):
        shutil.rmtree(made.folder / name, ignore_errors=True)


def take_over(first: Path, virtual: Path) -> None:
    """What is not ours, as the first build has it; of our own crates nothing."""
    shutil.copytree(first / "root", virtual / "root", copy_function=os.link)
    built = "programs/target"
    ours = shutil.ignore_patterns(*(f"{name}*" for name in OUR_CRATES))
    shutil.copytree(first / built, virtual / built, ignore=ours, symlinks=True)


def tree_of(rootfs: Path, folder: Path) -> dict[str, str]:
    """Every file of a root file system, with what it holds, where it points and who may what."""
    folder.mkdir(parents=True)
    debugfs(rootfs, f"rdump / {folder}")
    found = {}
    for path in folder.rglob("*"):
        info = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = ""
        found[str(path.relative_to(folder))] = f"{info.st_mode:o} {info.st_uid}:{info.st_gid} {content}"
    shutil.rmtree(folder)
    return found


def test_another_folder_and_another_time_give_the_same_bytes(elsewhere: Elsewhere):
    again = elsewhere.build(*(["--fresh"] if os.environ.get("STRATA_LONG") else []))
    programs = "virtual/programs/out"
    for program in sorted((elsewhere.image.folder.parent.parent / programs).iterdir()):
        assert program.read_bytes() == (elsewhere.folder / "target" / programs / program.name).read_bytes(), program
    assert again == sums(elsewhere.image.folder)

    def payload(folder: Path) -> str:
        text = in_toolbox("rauc", "--keyring", elsewhere.image.keys.authority, "info", folder / "strata.raucb")
        return re.search(r"Checksum:\s+([0-9a-f]{64})", text)[1]

    assert payload(elsewhere.built) == payload(elsewhere.image.folder) == again["rootfs.ext4"]


def test_one_changed_file_changes_one_file(elsewhere: Elsewhere):
    file = elsewhere.source / "device/rootfs/files" / CHANGED
    file.write_text(file.read_text() + "# changed\n")
    before = tree_of(elsewhere.image.rootfs, RESULTS / "elsewhere/before")
    assert elsewhere.build()["rootfs.ext4"] != sums(elsewhere.image.folder)["rootfs.ext4"]
    after = tree_of(elsewhere.built / "rootfs.ext4", RESULTS / "elsewhere/after")
    assert len(before) > 1000
    assert not [name for name in before if "ssh_host_" in name], "a key of the image would be that of every device"
    assert {name for name in before | after if before.get(name) != after.get(name)} == {CHANGED}
