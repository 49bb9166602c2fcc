"""Which process made something in a folder, so that any other can tell at once whether that process is still there.

A process is known by where it runs, its number and when it was started: a number alone is used again, and two machines
or two containers that share a folder use the same ones.
"""

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["Process", "marked", "ours"]

MARK = re.compile(r"([0-9a-f]{8})\.(\d+)\.(\d+)-")


class Process(NamedTuple):
    """One process of some machine."""

    place: str
    """A hash of the machine since it was started, and of the container."""
    pid: int
    born: int
    """When it was started, in ticks of the machine; 0 where the system does not tell."""

    @property
    def mark(self) -> str:
        """Stands in names of what it makes."""
        return f"{self.place}.{self.pid}.{self.born}-"

    @property
    def dead(self) -> bool:
        """Has it ended for certain? Of a process of another machine nobody here knows."""
        if self.place != _place() or not 0 < self.pid < 2**31:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:  # another user's, and there
            return False
        state, born = _state(self.pid)
        return state in ("Z", "X") or bool(self.born and born and born != self.born)


def ours() -> Process:
    """This process."""
    return Process(_place(), os.getpid(), _state(os.getpid())[1])


def marked(name: str) -> Process | None:
    """The process whose mark a name begins with."""
    found = MARK.match(name)
    return Process(found[1], int(found[2]), int(found[3])) if found else None


@cache
def _place() -> str:
    """The start of the machine and the container's numbers of processes on Linux, else the name of the machine."""
    try:
        told = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:
        told = ""
    return hashlib.sha256(f"{platform.node()} {told}".encode()).hexdigest()[:8]


def _state(pid: int) -> tuple[str, int]:
    """The letter of its state and when it was started; "" and 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError, ValueError):
        return "", 0
