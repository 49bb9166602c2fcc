"""Commands called by a process to which a closed folder is closed, be it root's or not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import pytest

SCRIPT = """
import json, sys
from typer.testing import CliRunner
from bench.cli.app import app
done = [CliRunner().invoke(app, arguments) for arguments in json.loads(sys.argv[1])]
print(json.dumps([(one.exit_code, one.stderr, repr(one.exception)) for one in done]))
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    stderr: str
    exception: str


def called(calls: Sequence[Sequence[object]], **environment: str) -> list[Ended]:
    """What becomes of these calls of `bench`, in one process without root's right to open everything."""
    rights: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root needs setpriv to do without its rights")
        rights = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    asked = json.dumps([list(map(str, arguments)) for arguments in calls])
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [*rights, sys.executable, "-c", SCRIPT, asked],
        env={**os.environ, **path, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return [Ended(*one) for one in json.loads(done.stdout)]
