"""A root shell on a serial console: commands with their exit status and exact output, files in and out.

The console is shared with the kernel and the service manager, so nothing is taken from it as it comes: output is kept
in files on the device and read back as base64 with a checksum. Owns finding the shell after a boot, without typing
anything before it is there (U-Boot takes any key as the wish to stop). Does not own the line itself.
"""

import base64
import hashlib
import re
import secrets
import shlex
import time
from dataclasses import dataclass
from typing import Protocol

from ..waiting import TimedOut

# Canonical terminals take 4095 bytes a line.
LINE_BYTES = 3000
PROMPT = re.compile(rb"(?:root@[^\r\n]*|sh-[0-9.]+|bash-[0-9.]+)[#$] ?(?:\x1b[^\r\n]*)?$|(?:\r|\n|^)# $")
# A prompt with something printed behind it that is no farewell.
PROMPT_BEFORE = re.compile(rb"root@[^\r\n]*[#$] (?!(?s:.*)(?:U-Boot|reboot|Reboot|Stopp|root@))")
LOGIN = re.compile(rb"login: *$")
KEEP = "/run/hil"


class Line(Protocol):
    """A console: bytes in both directions."""

    def read(self, timeout_s: float) -> bytes:
        """What came meanwhile; empty when nothing did."""

    def write(self, data: bytes) -> None:
        """Type."""


class CommandFailed(AssertionError):
    """A command on the device ended with another status than 0."""


@dataclass(frozen=True)
class Answer:
    """How a command ended and what it printed."""

    code: int
    output: str
    errors: str


class Shell:
    """A shell that answers, once attached."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pending = b""

    def attach(self, limit_s: float = 300, booting: bool = True) -> "Shell":
        """Find the prompt and take it over; where a shell is known to wait (`booting` false), at once."""
        deadline = time.monotonic() + limit_s
        marker = secrets.token_hex(4)
        self._pending = b""
        typed_at = heard_at = time.monotonic()
        typed = not booting
        if typed:
            self._line.read(0)
            self._type_takeover(marker)
        while time.monotonic() < deadline:
            said = self._line.read(1.0)
            heard_at = time.monotonic() if said else heard_at
            self._pending += said
            if f"HIL-{marker}-READY".encode() in self._pending:
                self._pending = b""
                return self
            if LOGIN.search(self._pending):
                raise TimedOut("the console asks for a login: it is no console of a virtual device's image")
            # Words typed into a shell that ended are lost; a prompt may be followed by a message.
            patience_s = 5 if PROMPT.search(self._pending) else 20 if typed else None
            covered = PROMPT_BEFORE.search(self._pending) and time.monotonic() - heard_at > 30
            if covered or (patience_s and time.monotonic() - typed_at > patience_s * typed):
                if not booting:
                    # An interrupt that came before its command had begun left that running.
                    self._line.write(b"\x03")
                    self._pending += self._line.read(1.0)
                self._type_takeover(marker)
                typed, typed_at, heard_at = True, time.monotonic(), time.monotonic()
        said = self._pending[-1500:].decode(errors="replace")
        raise TimedOut(f"no shell on the console within {limit_s:g} s; it said last:\n{said}")

    def _type_takeover(self, marker: str) -> None:
        """A plain shell without echo or line editing, which says that it is there."""
        words = f"stty -echo; mkdir -p {KEEP}; dmesg -n 1; PS1= PS2= exec bash --noprofile --norc --noediting"
        self._line.write(f" {words}\n".encode())
        self._line.write(f"PS1=; PS2=; printf 'HIL-%s-READY\\n' {marker}\n".encode())

    def give_back(self) -> None:
        """Leave the console to a person: the next line typed begins a new login shell."""
        self._line.write(b"stty echo; exit\n")

    # --- commands ---------------------------------------------------------------------------------------------------

    def run(self, command: str, limit_s: float = 120) -> Answer:
        """Run a command of bash, with nothing on its standard input."""
        marker = secrets.token_hex(4)
        wrapped = f"bash -c {shlex.quote(command)}"
        if len(wrapped) > LINE_BYTES:
            self._store(f"{KEEP}/command", command.encode(), limit_s)
            wrapped = f"bash {KEEP}/command"
        self._line.write(
            f"{wrapped} </dev/null >{KEEP}/out 2>{KEEP}/errors; HIL_CODE=$?; echo DONE-{marker}\n".encode()
        )
        self._wait_for(f"DONE-{marker}", limit_s, command)
        output, errors = self._fetch(f"{KEEP}/out", limit_s), self._fetch(f"{KEEP}/errors", limit_s)
        code = int(self._say("$HIL_CODE", limit_s))
        return Answer(code, output.decode(errors="replace"), errors.decode(errors="replace"))

    def check(self, command: str, limit_s: float = 120) -> str:
        """Run a command that must end with status 0; its output."""
        answer = self.run(command, limit_s)
        if answer.code != 0:
            raise CommandFailed(f"`{command}`: status {answer.code}: {answer.output[-2000:]}{answer.errors[-2000:]}")
        return answer.output

    def launch(self, command: str) -> None:
        """Type a command that ends the shell, or goes on behind it; nothing is waited for."""
        self._line.write(f"{command}\n".encode())

    # --- files ------------------------------------------------------------------------------------------------------

    def put(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Make a file on the device. For files of some 10 KB; more comes by HTTP."""
        self._store(f"{KEEP}/put", data, 120)
        self.check(f"install -m {mode:o} {KEEP}/put {shlex.quote(path)} && rm {KEEP}/put")

    def get(self, path: str) -> bytes:
        """A file of the device."""
        self.check(f"cat {shlex.quote(path)} >{KEEP}/get")
        return self._fetch(f"{KEEP}/get", 300)

    def _store(self, path: str, data: bytes, limit_s: float) -> None:
        text = base64.b64encode(data).decode()
        for at in range(0, len(text) or 1, LINE_BYTES):
            marker = secrets.token_hex(4)
            sign = ">" if at == 0 else ">>"
            part = text[at : at + LINE_BYTES]
            self._line.write(f"printf %s '{part}' {sign}{path}.base64; echo DONE-{marker}\n".encode())
            self._wait_for(f"DONE-{marker}", limit_s, f"writing {path}")
        wanted = hashlib.sha256(data).hexdigest()
        found = self._say(f"$(base64 -d {path}.base64 >{path}; sha256sum <{path} | cut -c-64)", limit_s)
        if found != wanted:
            raise CommandFailed(f"{path} did not arrive as it was sent")

    def _fetch(self, path: str, limit_s: float) -> bytes:
        """A file's content; read again when something else was printed into it."""
        for _attempt in range(4):
            begin, end = f"BEGIN-{secrets.token_hex(4)}", f"END-{secrets.token_hex(4)}"
            words = f"echo {begin}; base64 {path}; echo {end} $(sha256sum <{path} | cut -c-64) {end}-OVER\n"
            self._line.write(words.encode())
            text = self._wait_for(f"{end}-OVER", limit_s, f"reading {path}")
            body = text.rpartition(begin)[2].partition(end)
            try:
                data = base64.b64decode("".join(body[0].split()), validate=True)
            except ValueError:
                continue
            if hashlib.sha256(data).hexdigest() == body[2].strip():
                return data
        raise CommandFailed(f"{path} could not be read over the console: something else writes there all the time")

    def _say(self, expression: str, limit_s: float) -> str:
        """The value of an expression of the shell, one line."""
        for _attempt in range(4):
            begin, end = secrets.token_hex(4), secrets.token_hex(4)
            self._line.write(f'echo BEGIN-{begin} "{expression}" END-{end}\n'.encode())
            text = self._wait_for(f"END-{end}", limit_s, expression)
            value = text.rpartition(f"BEGIN-{begin}")[2].strip()
            if value and "\n" not in value:
                return value
        raise CommandFailed(f"`{expression}` could not be read over the console")

    def _wait_for(self, mark: str, limit_s: float, what: str) -> str:
        """Read until a mark; what came before it. The command that makes the mark is not echoed."""
        deadline = time.monotonic() + limit_s
        wanted = mark.encode()
        while True:
            at = self._pending.find(wanted)
            if at >= 0:
                text = self._pending[:at]
                self._pending = self._pending[at + len(wanted) :]
                return text.decode(errors="replace").replace("\r", "")
            left = deadline - time.monotonic()
            if left <= 0:
                said = self._pending[-1500:].decode(errors="replace")
                self._line.write(b"\x03")
                raise TimedOut(f"`{what[:200]}`: no end within {limit_s:g} s; the console said:\n{said}")
            self._pending += self._line.read(min(left, 1.0))
