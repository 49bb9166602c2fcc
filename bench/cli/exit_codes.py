"""How every command ends: its exit code, and errors, warnings and interruptions as sentences."""

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer

from bench.cli.addresses import folders_of_addresses
from bench.cli.interrupts import at_work, exit_code, was_interrupted
from bench.cli.output import UNREAD, say, spell_out

__all__ = ["FAILED", "NOTHING", "WRONG", "guarded", "interrupted"]

FAILED, WRONG, NOTHING = 1, 2, 3
"""Exit codes."""


def guarded(app: typer.Typer) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function a command of `app`: warnings and expected errors become sentences, an interruption 130."""

    def command(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> None:
            expected = _expected()
            spell_out()
            try:
                with at_work(), _told_in_sentences():
                    function(*args, **kwargs | folders_of_addresses(function.__name__, kwargs))
            except (Exception, KeyboardInterrupt) as error:
                end = _end(error, expected)
                if end is None:
                    raise
                raise end from None

        return app.command(name=function.__name__.rstrip("_").replace("_", "-"))(run)

    return command


def _expected() -> tuple[type[Exception], ...]:
    """Errors that are sentences. Imported before the work: after an interruption an import may not be whole."""
    from bench.datasets.split import DataError
    from bench.matrix.job import ConfigError
    from bench.store.job_folders import StoreError

    return ConfigError, DataError, StoreError


def _end(error: BaseException, expected: tuple[type[Exception], ...]) -> typer.Exit | None:
    """How a command ends by an error, once that is said; None for one that nobody expects, or an end already."""
    if isinstance(error, typer.Exit):
        return None
    if isinstance(error, KeyboardInterrupt) or was_interrupted():
        return interrupted("the same command continues")
    if isinstance(error, expected):
        return _refused(str(error))
    if isinstance(error, OSError):
        return typer.Exit(UNREAD) if error.errno == errno.EPIPE else _refused(_unusable(error))
    return None


def interrupted(advice: str) -> typer.Exit:
    """The end of a command that was interrupted, once that is said."""
    say(f"interrupted; {advice}")
    return typer.Exit(exit_code())


@contextmanager
def _told_in_sentences() -> Iterator[None]:
    """Warnings as the sentences that they are, without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: say(str(message))
        yield


def _refused(sentences: str) -> typer.Exit:
    """The end of a command whose request is wrong, once that is said."""
    for sentence in sentences.splitlines():
        say(sentence)
    return typer.Exit(WRONG)


def _unusable(error: OSError) -> str:
    """What the system says of a place that nobody asked before; our own errors of this kind have no number."""
    if error.errno is None:
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return f"{place}the disk is full; free some space and give the same command again"
    return f"{place}cannot be used ({error.strerror}); see that you may open it, or name another place"
