"""How many calls of this project lie between the command and the gradient: prints them, from a real run of a tiny job.

The parent's stack is taken where a job is handed to its worker, the worker's stack where the loss goes backward.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from support.jobs import matrix_file
from typer.testing import CliRunner

from bench.cli.app import app
from bench.execute import pool
from bench.matrix.job import Job

BUDGET = 8
PROJECT = Path(__file__).parents[2]

HOOK = """
import json, sys, traceback, torch
backward = torch.Tensor.backward
def first(tensor, *arguments, **options):
    stack = [(frame.filename, frame.name, frame.lineno) for frame in traceback.extract_stack()[:-1]]
    open({file!r}, "w").write(json.dumps(stack))
    torch.Tensor.backward = backward
    return backward(tensor, *arguments, **options)
torch.Tensor.backward = first
"""


def frames() -> list[str]:
    """`file:line function` of this project's frames, outermost first: the command's, then the worker's."""
    parent: list[Any] = []
    send = Connection.send

    def noted(connection: Any, message: Any) -> None:
        if isinstance(message, Job) and not parent:
            parent.extend((frame.filename, frame.name, frame.lineno) for frame in traceback.extract_stack()[:-1])
        send(connection, message)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        file = Path(folder, "stack.json")
        patch.setattr(pool, "WORKER", HOOK.format(file=str(file)) + pool.WORKER)
        patch.setattr(Connection, "send", noted)
        matrix = matrix_file(Path(folder), losses='["triplet"]')
        CliRunner().invoke(app, ["run", str(matrix), "--results", f"{folder}/runs"], catch_exceptions=False)
        worker = json.loads(file.read_text(encoding="utf-8"))
    return [*_ours(parent), *_ours(worker)]


def _ours(stack: list[Any]) -> Iterator[str]:
    for filename, function, line in stack:
        place = Path(filename)
        if place.is_relative_to(PROJECT / "bench"):
            yield f"{place.relative_to(PROJECT)}:{line} {function}"


def main() -> int:
    """Print the frames; 1 where there are too many."""
    found = frames()
    for number, frame in enumerate(found, 1):
        print(f"{number}  {frame}")
    print(f"{len(found)} frames from the command to the gradient, {BUDGET} at most")
    return int(len(found) > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
