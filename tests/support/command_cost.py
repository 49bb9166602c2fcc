"""What a command takes: seconds of the processor, and memory."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

COUNT = """
import subprocess, resource, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""Counts what a command takes in a small process: a child's peak is at least what its parent has."""


class Cost(NamedTuple):
    """Of one command."""

    processor: float
    """Seconds, of all its threads."""
    megabytes: float
    """At its peak."""


def cost(*command: str, folder: Path) -> Cost:
    """Run a command, and count what it and its threads took."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    whole = [sys.executable, "-c", COUNT, sys.executable, *command]
    counted = subprocess.run(whole, capture_output=True, text=True, env=environment, cwd=folder, check=False)
    if counted.returncode not in (0, 1):
        raise SystemExit(counted.stderr)
    seconds, kilobytes = map(float, counted.stdout.split())
    return Cost(seconds, kilobytes * 1024 / 1e6)
