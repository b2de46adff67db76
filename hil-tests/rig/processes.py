"""Processes of a run: started, restarted when they die, ended; none is left behind.

Owns what systemd does on a real machine. The run makes itself a subreaper, so that the encoders, workers and
emulators whose parent was killed become its own children, and ends them with itself. Knows nothing of Strata
but the prefix of its programs' names.
"""

import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PROGRAM_PREFIX = "strata-"


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def become_subreaper() -> None:
    """Orphans among this process's descendants become its children, not init's."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Receive SIGTERM when the parent dies, however it dies."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def raise_on_signals() -> None:
    """Turn the signals that end a run into `Interrupted` in the main thread, once."""

    def interrupt(number: int, _frame: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@dataclass(frozen=True)
class ProcessInfo:
    """A line of /proc/PID/stat."""

    pid: int
    parent: int
    name: str
    state: str
    cpu_s: float
    started: int


def read_process(pid: int) -> ProcessInfo | None:
    """What the kernel says of a process; none when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    return ProcessInfo(pid, int(fields[1]), name, fields[0], ticks / os.sysconf("SC_CLK_TCK"), int(fields[19]))


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def output_of(pid: int) -> str:
    """The file that a process's standard output goes to; empty when it is gone."""
    try:
        return str(Path(f"/proc/{pid}/fd/1").readlink())
    except OSError:
        return ""


def resident_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def descendants(pid: int) -> list[ProcessInfo]:
    """Everything below a process, zombies included, parents first."""
    every = [info for entry in os.listdir("/proc") if entry.isdigit() and (info := read_process(int(entry)))]
    found: list[ProcessInfo] = []
    parents = {pid}
    while parents:
        level = [info for info in every if info.parent in parents]
        found += level
        parents = {info.pid for info in level}
    return found


def strata_processes() -> list[ProcessInfo]:
    """Strata's programs below this process that still run."""
    return [p for p in descendants(os.getpid()) if p.name.startswith(PROGRAM_PREFIX) and p.state != "Z"]


def signal_process(pid: int, number: int) -> None:
    """Send a signal; a process that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def end_all(processes: list[ProcessInfo], patience_s: float = 5.0) -> list[str]:
    """End processes by their ids, kindly first; says which had to be killed."""
    for info in processes:
        signal_process(info.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    alive = processes
    while alive and time.monotonic() < deadline:
        alive = [info for info in alive if _runs(info)]
        time.sleep(0.02)
    for info in alive:
        signal_process(info.pid, signal.SIGKILL)
    while any(_runs(info) for info in alive):
        time.sleep(0.02)
    return [f"{info.name} ({info.pid})" for info in alive]


def end_descendants() -> None:
    """End everything below this process, also what is started meanwhile."""
    while left := [info for info in descendants(os.getpid()) if info.state != "Z"]:
        end_all(left)


def _runs(info: ProcessInfo) -> bool:
    now = read_process(info.pid)
    if now is None or now.started != info.started:
        return False
    if now.state == "Z":
        if now.parent == os.getpid():
            _reap(info.pid)
        return False
    return True


def guarded(body) -> int:
    """Run `body` in a child of a guard; whatever ends the child (even SIGKILL), the guard ends what it left behind.

    The other way round, the death of the guard ends the child, which then cleans up itself.
    """
    become_subreaper()
    sys.stdout.flush()
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        become_subreaper()
        die_with_parent()
        if os.getppid() != guard:
            os._exit(1)
        raise_on_signals()
        os._exit(_run_body(body))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda n, _f: signal_process(child, n))
    status = _wait_for(child)
    end_descendants()
    return os.waitstatus_to_exitcode(status) if not os.WIFSIGNALED(status) else 128 + os.WTERMSIG(status)


def _run_body(body) -> int:
    code = 1
    try:
        code = body()
    except Interrupted:
        code = 130
    except Exception:
        traceback.print_exc()
    end_descendants()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _wait_for(child: int) -> int:
    """Wait for one child, reaping whatever else becomes ours."""
    while True:
        try:
            pid, status = os.wait()
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno == errno.ECHILD:
                return 1
            raise
        if pid == child:
            return status


@dataclass(frozen=True)
class Exit:
    """How a service ended, once."""

    at: float
    pid: int
    code: int

    def __str__(self) -> str:
        return f"signal {-self.code}" if self.code < 0 else f"exit status {self.code}"


@dataclass
class Service:
    """A program that is started again when it ends, as a systemd unit with `Restart=always` is."""

    name: str
    argv: list[str]
    log: Path
    env: dict[str, str] = field(default_factory=dict)
    restart_after_s: float = 0.5
    start_limit: int = 5
    exits: list[Exit] = field(default_factory=list)
    _process: subprocess.Popen | None = None
    _thread: threading.Thread | None = None
    _ending: threading.Event = field(default_factory=threading.Event)
    _starting: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pid(self) -> int:
        """The process that runs now; 0 between two."""
        process = self._process
        return process.pid if process and process.poll() is None else 0

    def owns(self, pid: int) -> bool:
        """Whether a process, even a dead one, is this service's."""
        return self._process is not None and self._process.pid == pid

    @property
    def gave_up(self) -> bool:
        """It ended too often in a short time, or cannot be started at all."""
        last = self.exits[-self.start_limit :]
        return len(last) == self.start_limit and last[-1].at - last[0].at < 10.0

    def start(self) -> None:
        """Start it, and a thread that starts it again."""
        self._ending.clear()
        self._spawn()
        self._thread = threading.Thread(target=self._watch, name=f"watch-{self.name}", daemon=True)
        self._thread.start()

    def _spawn(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.env},
                start_new_session=True,
            )

    def _watch(self) -> None:
        while True:
            code = self._process.wait()
            if self._ending.is_set():
                return
            self.exits.append(Exit(time.time(), self._process.pid, code))
            if self.gave_up:
                return
            self._ending.wait(self.restart_after_s)
            with self._starting:
                if self._ending.is_set():
                    return
                self._spawn()

    def kill(self) -> int:
        """kill -9, as a test's fault; returns the process that was hit."""
        pid = self.pid
        signal_process(pid, signal.SIGKILL)
        return pid

    def stop(self, patience_s: float = 10.0) -> int | None:
        """End it for good: SIGTERM, then SIGKILL; returns its exit code."""
        with self._starting:
            self._ending.set()
            process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                process.kill()
        code = process.wait()
        if self._thread:
            self._thread.join()
        return code

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log, for people."""
        return tail(self.log, lines)


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a file."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return f"(no file {path})"


class OrphanReaper:
    """Collects the exit of encoders, workers and emulators that became ours, so that none stays a zombie.

    Only Strata's own programs are touched, and never a service: its exit belongs to its `Popen`.
    """

    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        """Start collecting."""
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(0.2):
            self.collect()

    def collect(self) -> None:
        """Collect what has ended so far."""
        me = os.getpid()
        for entry in os.listdir("/proc"):
            info = read_process(int(entry)) if entry.isdigit() else None
            orphan = info and info.parent == me and info.state == "Z" and info.name.startswith(PROGRAM_PREFIX)
            if orphan and not any(service.owns(info.pid) for service in self._services):
                _reap(info.pid)

    def stop(self) -> None:
        """Stop collecting."""
        self._end.set()
        self._thread.join()
