"""Commands as processes of their own: in a pseudo-terminal that one can type into, or beside it."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil

BENCH = [sys.executable, "-P", "-m", "bench.cli.start"]
CTRL_C, CTRL_BACKSLASH = b"\x03", b"\x1c"
SHOW, HIDE = "\x1b[?25h", "\x1b[?25l"
SECONDS = 120
"""After which a test gives up. Nothing is measured against it."""

IN_A_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes the pseudo-terminal that is stdin the one whose keys become signals."""


def surroundings(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


class Terminal:
    """A command in a terminal of its own, 200 letters wide unless it is told."""

    def __init__(self, *arguments: object, columns: int = 200, **env: str) -> None:
        self.keyboard, inside = pty.openpty()
        termios.tcsetwinsize(inside, (25, columns))
        command = [sys.executable, "-S", "-E", "-c", IN_A_TERMINAL, *BENCH, *map(str, arguments)]
        env = surroundings(**{"COLUMNS": "", "TERM": "xterm", **env})
        self.process = subprocess.Popen(
            command, stdin=inside, stdout=inside, stderr=inside, start_new_session=True, env=env
        )
        os.close(inside)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with ended(self.process):
            self.close()

    def press(self, key: bytes) -> None:
        os.write(self.keyboard, key)

    def close(self) -> None:
        """What happens to the command when its window is closed."""
        if self.keyboard >= 0:
            os.close(self.keyboard)
        self.keyboard = -1

    def until(self, text: str) -> None:
        """Read until it has shown this."""
        while text not in self.shown:
            assert self._read(SECONDS), f"it ended, and has not shown {text!r}: {self.shown[-2000:]}"

    def wait_for(self, what: Callable[[], object]) -> None:
        """Read until a function says so: a command whose terminal is full waits."""
        wait_for(lambda: what() or (select.select([self.keyboard], [], [], 0)[0] and self._read(0) and what()))

    def end(self) -> int:
        """Read to its end; its exit code."""
        while self._read(SECONDS):
            pass
        return self.process.wait(SECONDS)

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self.keyboard], [], [], seconds)
        assert ready, f"nothing is shown for {seconds} s after {self.shown[-2000:]}"
        with contextlib.suppress(OSError):  # how Linux tells of the end of a terminal
            found = os.read(self.keyboard, 2**16).decode(errors="replace")
            self.shown += found
            return bool(found)
        return False


@contextlib.contextmanager
def ended(process: subprocess.Popen) -> Iterator[None]:
    """Whatever becomes of a test, its process and the children of it end."""
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def wait_for(what: Callable[[], object], *, seconds: float = SECONDS) -> None:
    """Until a function says so; the sleep decides nothing."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"it has not come in {seconds} s"
        time.sleep(0.02)


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
