"""A mobile modem with a SIM, made up: it answers AT commands (3GPP TS 27.007) on a serial line.

It stands in place of a modem, which this desk can't have: nothing of it is a radio, and no data flows, so dialling ends
with NO CARRIER. What is real is everything that talks to it: the kernel's serial driver, ModemManager, NetworkManager.

Owns what the modem and its SIM say, and the count of PINs that reached the SIM. What was said is in a file.
"""

import contextlib
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

# ModemManager asks modems only that it is told to: a serial port may lead to anything.
UDEV_RULE = (
    'ACTION!="remove", SUBSYSTEM=="tty", ENV{ID_VENDOR_ID}=="0403", ENV{ID_MM_DEVICE_PROCESS}="1", '
    'ENV{ID_MM_PORT_TYPE_AT_PRIMARY}="1"\n'
)
OPERATOR, NETWORK = "Test Mobile", "00101"
# Of 31; ModemManager makes 67 % of it.
SIGNAL = 21
# AcT of TS 27.007: E-UTRAN.
LTE = 7
TRIES, PUK_TRIES = 3, 10
# +CME ERROR (TS 27.007, 9.2.1).
NOT_SUPPORTED, NO_SIM, PIN_WANTED, PUK_WANTED, WRONG_PASSWORD = 4, 10, 11, 12, 16


@dataclass
class SimCard:
    """A SIM card, that asks for its PIN when it gets power."""

    pin: str = "4711"
    tries: int = TRIES
    # Each card is another one.
    number: int = 1
    open: bool = False

    @property
    def asks_for(self) -> str:
        """As +CPIN? says it."""
        return "READY" if self.open else "SIM PIN" if self.tries else "SIM PUK"

    def iccid(self) -> str:
        """The card's number, in its file's order: the halves of each byte are swapped."""
        digits = f"890110{self.number:014d}"
        return "".join(b + a for a, b in zip(digits[::2], digits[1::2], strict=True))


@dataclass
class Modem:
    """The modem on one line; its SIM may be changed at any time, and is noticed as with a real one: when it starts."""

    log: Path
    sim: SimCard | None = None
    # Whether it says how often the PIN may be tried: many modems do not.
    tells_tries: bool = True
    # The PINs that reached the SIM.
    pins: list[str] = field(default_factory=list)
    _cops_long: bool = True
    access_points: dict[str, str] = field(default_factory=dict)
    _line: socket.socket | None = None
    _thread: threading.Thread | None = None

    def attach(self, line: socket.socket) -> None:
        """Answer on a line, until its other end is closed."""
        self._line = line
        self._thread = threading.Thread(target=self._serve, name="modem", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        pending = b""
        with self.log.open("a", buffering=1) as log, contextlib.suppress(OSError):
            while data := self._line.recv(4096):
                *lines, pending = re.split(rb"[\r\n]+", pending + data)
                for line in lines:
                    # Before the command, perhaps, what was sent to find out about other protocols.
                    if b"AT" not in line.upper():
                        continue
                    command = line[line.upper().index(b"AT") + 2 :].decode(errors="replace")
                    answer = self.answer(command)
                    log.write(f"{time.strftime('%H:%M:%S')} AT{command} -> {' | '.join(answer)}\n")
                    self._line.sendall("".join(f"\r\n{part}\r\n" for part in answer).encode())

    # --- what it answers --------------------------------------------------------------------------------------------

    def answer(self, command: str) -> list[str]:
        """The lines of the answer to what follows AT: several commands stand in one line, with semicolons between."""
        lines = []
        for one in re.findall(r'(?:[^;"]|"[^"]*")+', command) or [""]:
            *more, last = self._one(one.strip())
            lines += more
            if last != "OK":
                return [*lines, last]
        return [*lines, "OK"]

    def _one(self, command: str) -> list[str]:
        name, asked, value = re.fullmatch(r"([^=?]*)(\?|=\?|=?)(.*)", command, re.DOTALL).groups()
        name = name.upper()
        if name in ("", "E0", "V1", "X4", "&C1", "&D1", "Z", "H", "Z0", "E0V1") and not asked:
            return ["OK"]
        if name.startswith("D"):
            return ["NO CARRIER"]
        method = getattr(self, f"_at_{name.removeprefix('+').lower()}", None)
        if name.startswith("+") and method:
            told = method(asked, value)
            if isinstance(told, int):
                return [f"+CME ERROR: {told}"]
            return [*(line if name == "+CIMI" else f"{name}: {line}" for line in told), "OK"]
        plain = self._plain().get(command.upper())
        if plain is None:
            return [f"+CME ERROR: {NOT_SUPPORTED}"]
        return [*plain, "OK"]

    def _plain(self) -> dict[str, list[str]]:
        """What is always the same."""
        return {
            "+CGMI": ["Strata"],
            "+CGMM": ["Made up"],
            "+CGMR": ["1"],
            "+CGSN": ["350000000000006"],
            "+GCAP": ["+GCAP: +CGSM,+FCLASS,+DS"],
            "+WS46=?": ["+WS46: (28)"],
            "+CMEE=1": [],
            "+CSCS=?": ['+CSCS: ("IRA","GSM")'],
            "+CSCS?": ['+CSCS: "IRA"'],
            '+CSCS="IRA"': [],
            "+IFC=?": ["+IFC: (0-2),(0-2)"],
            "+IFC=1,1": [],
            "+CFUN?": ["+CFUN: 1"],
            "+CFUN=1": [],
            "+CSQ": [f"+CSQ: {SIGNAL},99"],
        }

    def _locked(self) -> int | None:
        """What is wrong with the SIM, as a +CME ERROR."""
        if self.sim is None:
            return NO_SIM
        return {"SIM PIN": PIN_WANTED, "SIM PUK": PUK_WANTED}.get(self.sim.asks_for)

    def _at_cpin(self, asked: str, value: str) -> list[str] | int:
        sim = self.sim
        if sim is None:
            return NO_SIM
        if asked == "?":
            return [sim.asks_for]
        if sim.asks_for == "SIM PUK":
            return PUK_WANTED
        pin = value.strip('"')
        self.pins.append(pin)
        if pin == sim.pin:
            sim.open, sim.tries = True, TRIES
            return []
        sim.tries -= 1
        return WRONG_PASSWORD

    def _at_csim(self, asked: str, value: str) -> list[str] | int:
        """Raw commands for the card: VERIFY and UNBLOCK without data only ask how often one may try (TS 102 221)."""
        found = re.fullmatch(r'10,"00(20|2C)00(01|81)00"', value)
        if self.sim is None or not self.tells_tries or asked != "=" or not found:
            return NOT_SUPPORTED
        left = self.sim.tries if found.groups() == ("20", "01") else PUK_TRIES if found[1] == "2C" else TRIES
        return [f'4,"63C{left:X}"' if left else '4,"6983"']

    def _at_crsm(self, _asked: str, value: str) -> list[str] | int:
        """Files of the card; its number can be read without a PIN."""
        if self.sim is None:
            return NO_SIM
        file = value.split(",")[1]
        if file == "12258":
            return [f'144,0,"{self.sim.iccid()}"']
        if self._locked():
            return self._locked()
        # How long the network's part of the subscriber's number is.
        return ['144,0,"00000002"'] if file == "28589" else ['106,130,""']

    def _at_cimi(self, _asked: str, _value: str) -> list[str] | int:
        return self._locked() or [f"{NETWORK}0123456789"]

    def _at_creg(self, asked: str, _value: str) -> list[str]:
        if asked != "?":
            return []
        return ["2,0"] if self._locked() else [f'2,1,"00C8","0000C0DE",{LTE}']

    _at_cgreg = _at_cereg = _at_creg

    def _at_cops(self, asked: str, value: str) -> list[str] | int:
        if self._locked():
            return self._locked()
        if asked == "=" and value.startswith("3,"):
            self._cops_long = value == "3,0"
        if asked != "?":
            return []
        return [f'0,0,"{OPERATOR}",{LTE}' if self._cops_long else f'0,2,"{NETWORK}",{LTE}']

    def _at_cgatt(self, asked: str, _value: str) -> list[str]:
        return ["1"] if asked == "?" else []

    def _at_cgdcont(self, asked: str, value: str) -> list[str]:
        if asked == "=?":
            return ['(1-16),"IP",,,(0),(0)', '(1-16),"IPV6",,,(0),(0)', '(1-16),"IPV4V6",,,(0),(0)']
        if asked == "?":
            return [f"{number},{rest}" for number, rest in self.access_points.items()]
        number, _, rest = value.partition(",")
        self.access_points[number] = rest
        return []
