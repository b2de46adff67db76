"""Rules of the code base that no compiler knows; prints each breach with its place, exit status 1 if there are any.

Run by `./dev lint`. Each rule is one function that yields sentences; a new rule is a new function in `RULES`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_LINES = 600
CODE = {".rs", ".py", ".sh", ".js", ".mjs", ".css", ".html"}
SANS_IO = ("strata-bond", "strata-media", "strata-control")
SECRETS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-+(\n|\\n)[\w+/=]{40}|\bAKIA[0-9A-Z]{16}\b|\bghp_\w{30,}|\bxox[bp]-\w{10,}"
)
UNFINISHED = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")).join((r"\b(", r")\b")))
MACHINE_PATHS = re.compile(r"(?<![\w./-])/(?:work|root|home/\w+)/")
REGISTRIES = re.compile(
    r"^\s*(registry\s*=|index-url|extra-index-url|--index-url|replace-with)|\"resolved\":", re.MULTILINE
)


def tracked() -> list[Path]:
    """Every file under version control or about to be, that is text."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    paths = [ROOT / name for name in names.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def read(path: Path) -> str:
    """A file's text."""
    return path.read_text(encoding="utf-8", errors="replace")


def production_lines(path: Path) -> int:
    """Lines before the file's own tests."""
    lines = read(path).splitlines()
    for number, line in enumerate(lines):
        if line.strip() == "#[cfg(test)]" and "mod " in "".join(lines[number + 1 : number + 3]):
            return number
    return len(lines)


def find(path: Path, pattern: re.Pattern[str], what: str) -> Iterator[str]:
    """A sentence for each place where a pattern is found."""
    text = read(path)
    for match in pattern.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield f"{path.relative_to(ROOT)}:{line}: {what}: {match.group(0).strip()[:40]}"


def files_are_short(files: list[Path]) -> Iterator[str]:
    """Whoever looks for something finds it sooner in a short file."""
    for path in files:
        is_test = "tests" in path.parts or path.name.startswith("test_")
        if (
            (path.suffix in CODE or path.name == "dev")
            and not is_test
            and (lines := production_lines(path)) > MAX_LINES
        ):
            yield f"{path.relative_to(ROOT)}: {lines} lines; {MAX_LINES} at most: split it by concepts"


def nothing_is_unfinished(files: list[Path]) -> Iterator[str]:
    """What is left to do is an issue, not a comment."""
    for path in files:
        if path.suffix in CODE | {".toml", ".md", ".yml"} or path.name == "dev":
            yield from find(path, UNFINISHED, "unfinished")


def no_secrets(files: list[Path]) -> Iterator[str]:
    """A secret in the history is a secret told."""
    for path in files:
        yield from find(path, SECRETS, "looks like a secret")


def no_machine_paths(files: list[Path]) -> Iterator[str]:
    """The code runs on other machines than its author's."""
    for path in files:
        yield from find(path, MACHINE_PATHS, "path of one machine")


def no_registry_hosts(files: list[Path]) -> Iterator[str]:
    """Where packages come from is the machine's choice (a mirror, a cache), not the repository's."""
    names = {"package-lock.json", ".npmrc", "requirements.txt", "pip.conf", "config.toml"}
    for path in files:
        if path.name in names:
            yield from find(path, REGISTRIES, "names a registry")


def lock_files_are_committed(files: list[Path]) -> Iterator[str]:
    """Everybody builds the same."""
    locks = ("Cargo.lock", "transport/strata-fuzz/fuzz/Cargo.lock", "web/strata-web/package-lock.json")
    for name in (*locks, "hil-tests/requirements.txt"):
        if ROOT / name not in files:
            yield f"{name} is not committed"


def metadata() -> list[dict]:
    """The workspace's packages as cargo knows them."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)["packages"]


def layers_hold(_files: list[Path]) -> Iterator[str]:
    """device/ and relay/ meet on the wire only; transport/ and web/ know neither."""
    packages = {p["name"]: Path(p["manifest_path"]).relative_to(ROOT).parts[0] for p in metadata()}
    allowed = {"transport": {"transport"}, "web": {"web"}, "device": {"device", "transport", "web"}}
    allowed["relay"] = {"relay", "transport", "web"}
    for package in metadata():
        layer = packages[package["name"]]
        for dependency in package["dependencies"]:
            other = packages.get(dependency["name"])
            if other and other not in allowed.get(layer, set(packages.values())):
                yield f"{layer}/{package['name']} depends on {other}/{dependency['name']}"


def every_crate_has_the_lints(files: list[Path]) -> Iterator[str]:
    """Cargo warns of nothing when a crate forgets the workspace's lints."""
    for path in files:
        text = read(path) if path.name == "Cargo.toml" else ""
        own = "[lints.rust]" in text and all(lint in text for lint in ("unsafe_code", "missing_docs", "unwrap_used"))
        if "[package]" in text and not own and not re.search(r"^\[lints\]\nworkspace = true", text, re.MULTILINE):
            yield f"{path.relative_to(ROOT)}: no `[lints] workspace = true`"


def sans_io_crates_forbid_clocks_and_sockets(_files: list[Path]) -> Iterator[str]:
    """Clippy refuses clocks and sockets there, so a test under simulated time is a test of the real thing."""
    for name in SANS_IO:
        path = ROOT / "transport" / name / "clippy.toml"
        text = read(path) if path.exists() else ""
        for word in ("Instant::now", "SystemTime::now", "UdpSocket", "thread::spawn"):
            if word not in text:
                yield f"transport/{name}/clippy.toml does not forbid {word}"


RULES = (
    files_are_short,
    nothing_is_unfinished,
    no_secrets,
    no_machine_paths,
    no_registry_hosts,
    lock_files_are_committed,
    layers_hold,
    every_crate_has_the_lints,
    sans_io_crates_forbid_clocks_and_sockets,
)


def main() -> int:
    """Check every rule."""
    files = tracked()
    breaches = [breach for rule in RULES for breach in rule(files)]
    for breach in breaches:
        print(breach)
    print(f"{len(RULES)} rules, {len(files)} files, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
