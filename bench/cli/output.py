"""Where output goes: terminals that lack letters, readers that have seen enough, disks that are full."""

import codecs
import errno
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["LONG", "PLAIN", "UNREAD", "console", "finish", "say", "spell_out", "talk"]

UNREAD = 141
"""Exit code where nobody reads the output any more: what a shell says of a tool that SIGPIPE ended."""
LONG = 1000
"""Lines of a leaderboard, or cells of a matrix, that a terminal shows at most."""
FULL = 2
PLAIN = {
    "−": "-",
    "–": "-",
    "—": "-",
    "±": "+-",
    "×": "x",
    "·": ".",
    "…": "...",
    "▽": "v",
    "†": "*",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What stands for a sign that the output has no room for."""


def console(*, stderr: bool = False) -> "Console":
    """Where a command prints what is more than a line of text."""
    from bench.cli.rich_console import PipedConsole  # which a line of text need not wait for

    return PipedConsole(stderr=stderr)


def talk() -> "Console":
    """Where a command talks to its user: stderr, since stdout is for results."""
    return console(stderr=True)


def say(sentence: str) -> None:
    """Tell the user one sentence, with control characters of names and labels in it as escapes."""
    from bench.datasets.split import legible, without_control

    with suppress(OSError):  # a terminal that is closed, a pipe that nobody reads
        typer.echo(f"bench: {without_control(legible(sentence))}", err=True)


def spell_out() -> None:
    """Let signs that the terminal lacks be spelt in ASCII, and other letters be escaped, instead of an error."""
    codecs.register_error("spelt", _spelt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spelt")


def _spelt(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    spelt = "".join(PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in letters)
    return spelt, error.end


def finish(code: int) -> int:
    """Write what is still to be written, at the end of the process; the exit code, which a failure of that changes."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError as error:
            code = code or _unwritten(error)
            _drop(stream)
    return code


def _unwritten(error: OSError) -> int:
    """Say why the output could not be written, unless its reader has gone; the exit code."""
    if error.errno == errno.EPIPE:
        return UNREAD
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"bench: the output cannot be written ({error.strerror}); lead it to another place\n")
        sys.stderr.flush()
    return FULL


def _drop(stream: TextIO) -> None:
    """What is still in its buffer goes nowhere, and so not into an error at the interpreter's end."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
