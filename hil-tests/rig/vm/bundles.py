"""Bundles to update with: the image's own root file system with a few files changed, and bundles that must be refused.

Each is made when it is asked for and kept for the session. What is changed in a variant is one `Variant`, told apart
from how any of them is made. Root file systems are changed with debugfs, so that a bundle differs from the image by
exactly that.
"""

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..boot import VIRTUAL, in_toolbox
from .image import Image, Keys, debugfs, sparse_copy

SLEEPER = "#!/bin/sh\nexec sleep infinity\n"


@dataclass(frozen=True)
class Variant:
    """How a bundle differs from the image's own."""

    name: str
    version: str
    # Files of the root file system with their new content; none takes the file away.
    files: dict[str, str | None] = field(default_factory=dict)
    # Files of which every byte is another one, as when a package was built anew; the file system is built anew, too.
    scrambled: tuple[str, ...] = ()
    compatible: str | None = None
    # Its payload is not looked at, because it is refused before: a small one does.
    empty: bool = False
    signer: str = "dev"
    # Bytes of the finished bundle that are kept.
    keep: float = 1.0


@dataclass(frozen=True)
class Bundle:
    """A bundle in the server's folder."""

    path: Path
    version: str
    manifest_sha256: str

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size


def newer(version: str, steps: int = 1) -> str:
    """A version after this one."""
    major, minor, patch = (int(part) for part in re.match(r"(\d+)\.(\d+)\.(\d+)", version).groups())
    return f"{major}.{minor}.{patch + steps}"


@dataclass
class Bundles:
    """Makes bundles of one image into one folder."""

    image: Image
    folder: Path
    _made: dict[str, Bundle] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.work = self.folder / "work"
        self.work.mkdir(exist_ok=True)
        self.keys = self._copied_keys()
        self.version = self.identity()["version"]
        self.compatible = self.identity()["compatible"]

    def identity(self) -> dict[str, str]:
        """What the image says it is."""
        text = self.read(IMAGE_TOML)
        found = dict(re.findall(r'^\s*(\w+)\s*=\s*"([^"]*)"', text, re.MULTILINE))
        if "version" not in found:
            raise ValueError(f"{self.image.rootfs} does not say what it is: {text}")
        return found

    def read(self, path: str) -> str:
        """A file of the image's root file system."""
        return in_toolbox("debugfs", "-R", f"cat {path}", self.image.rootfs)

    def make(self, variant: Variant) -> Bundle:
        """The bundle of a variant."""
        if variant.name not in self._made:
            self._made[variant.name] = self._make(variant)
        return self._made[variant.name]

    def _make(self, variant: Variant) -> Bundle:
        content = self.work / variant.name
        shutil.rmtree(content, ignore_errors=True)
        content.mkdir()
        self._make_rootfs(variant, content / "rootfs.ext4")
        target = self.folder / f"{variant.name}.raucb"
        signer = self._signer(variant.signer)
        compatible = variant.compatible or self.compatible
        in_toolbox(VIRTUAL / "bundle", content, variant.version, target, signer, compatible)
        shutil.rmtree(content)
        manifest = self._manifest_hash(target) if variant.signer == "dev" else ""
        if variant.keep < 1.0:
            os.truncate(target, int(target.stat().st_size * variant.keep))
        return Bundle(target, variant.version, manifest)

    def _manifest_hash(self, bundle: Path) -> str:
        text = in_toolbox("rauc", f"--keyring={self.keys.authority}", "info", "--output-format=shell", bundle)
        found = re.search(r"^RAUC_MF_HASH='?([0-9a-f]{64})'?$", text, re.MULTILINE)
        if not found:
            raise ValueError(f"rauc info does not tell the manifest's hash of {bundle}:\n{text}")
        return found[1]

    def _make_rootfs(self, variant: Variant, path: Path) -> None:
        if variant.empty:
            # Random: an empty one is packed to less than a bundle may have.
            in_toolbox("bash", "-ec", 'head -c 64k /dev/urandom >"$1"', "make", path)
            return
        files = {**self._identity_files(variant), **variant.files}
        if variant.scrambled:
            self._build_anew(path, files, variant.scrambled)
        else:
            sparse_copy(self.image.rootfs, path)
            self._exchange(path, files)

    def _exchange(self, path: Path, files: dict[str, str | None]) -> None:
        """Exchange files where they are."""
        commands = []
        for number, (name, text) in enumerate(files.items()):
            commands.append(f"rm {name}")
            if text is not None:
                source = path.parent / f"file-{number}"
                source.write_text(text)
                mode = "0100755" if text.startswith("#!") else "0100644"
                commands += [f"write {source} {name}", f"set_inode_field {name} mode {mode}"]
                commands += [f"set_inode_field {name} uid 0", f"set_inode_field {name} gid 0"]
        debugfs(path, *commands, write=True)
        for left in path.parent.glob("file-*"):
            left.unlink()

    def _build_anew(self, path: Path, files: dict[str, str | None], scrambled: tuple[str, ...]) -> None:
        """Make the file system from its tree, as an image's build does: what follows a changed file may move."""
        tree = path.parent / "tree"
        tree.mkdir()
        debugfs(self.image.rootfs, f"rdump / {tree}")
        for name, text in files.items():
            (tree / name.lstrip("/")).write_text(text)
        for name in scrambled:
            file = tree / name.lstrip("/")
            data = file.read_bytes()
            # Every byte is another one, and there are more: no more can change in a package.
            file.write_bytes(bytes(byte ^ 0x5A for byte in data) + data[: len(data) // 32])
        script = 'truncate -s "$3" "$1"; exec mke2fs -q -t ext4 -b 4096 -m 0 -O ^has_journal,^orphan_file -d "$2" "$1"'
        in_toolbox("bash", "-ec", script, "make", path, tree, self.image.rootfs.stat().st_size)
        shutil.rmtree(tree)

    def _identity_files(self, variant: Variant) -> dict[str, str]:
        """The files that carry the version."""
        quoted = re.escape(self.version)
        image = re.sub(rf'(?m)^(version\s*=\s*"){quoted}"', rf'\g<1>{variant.version}"', self.read(IMAGE_TOML))
        release = re.sub(r"(?m)^IMAGE_VERSION=.*$", f"IMAGE_VERSION={variant.version}", self.read(OS_RELEASE))
        return {IMAGE_TOML: image, OS_RELEASE: release}

    # --- signers ----------------------------------------------------------------------------------------------------

    def _copied_keys(self) -> Keys:
        """Development's keys, where the toolbox sees them."""
        shutil.copytree(self.image.keys.folder, self.work / "keys", dirs_exist_ok=True)
        return Keys(self.work / "keys")

    def _signer(self, name: str) -> Path:
        """Path of a signer: SIGNER.cert.pem and SIGNER.key.pem."""
        signer = self.keys.folder / name
        makers: dict[str, Callable[[], None]] = {"stranger": self._make_stranger, "expired": self._make_expired}
        if not signer.with_suffix(".cert.pem").exists():
            makers[name]()
        return signer

    def _make_stranger(self) -> None:
        """A signer of another authority, whose names are the same."""
        use = "-addext extendedKeyUsage=emailProtection -addext keyUsage=critical,digitalSignature"
        self._openssl(f"{NEW_KEY} -keyout stranger.key.pem -x509 -days 30 {use} -out stranger.cert.pem {NAME}")

    def _make_expired(self) -> None:
        """A signer whose certificate was good until the end of 2025."""
        text = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
        (self.keys.folder / "expired.ext").write_text(text + "extendedKeyUsage=emailProtection\n")
        self._openssl(f"{NEW_KEY} -keyout expired.key.pem -out expired.csr.pem {NAME}")
        self._openssl(
            "x509 -req -in expired.csr.pem -CA ca.cert.pem -CAkey ca.key.pem -CAcreateserial -extfile expired.ext "
            "-not_before 20250101000000Z -not_after 20251231000000Z -out expired.cert.pem"
        )

    def _openssl(self, words: str) -> None:
        in_toolbox("bash", "-ec", f'cd "$1"; openssl {words}', "make", self.keys.folder)


IMAGE_TOML = "/usr/lib/strata/image.toml"
OS_RELEASE = "/usr/lib/os-release"
NEW_KEY = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
NAME = "-subj '/O=Strata development/CN=Strata development bundles'"
