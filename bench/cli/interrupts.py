"""What Ctrl-C and its like do: the first one asks a command to stop, the second ends it, all further ones do no harm.

SIGTERM is a Ctrl-C. A terminal that is closed (SIGHUP) and Ctrl-\\ (SIGQUIT) end a command without asking.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from bench.execute.stop import Stop

__all__ = ["at_work", "catch", "end", "exit_code", "stop", "was_interrupted"]

INTERRUPTED = 130
"""The exit code, as of shells."""
AT_ONCE = (signal.SIGHUP, signal.SIGQUIT)
SIGNALS = (signal.SIGINT, signal.SIGTERM, *AT_ONCE)
GRACE = 0.7
"""Seconds for what tidies up after the second signal: then the process ends, whatever it does."""
LONG_GRACE = 5.0
"""The same after the first of a kind that does not ask."""
ONCE_MORE = 0.02
"""Seconds until an interruption that was lost comes again."""
SHOW_CURSOR = b"\x1b[?25h"


class _State:
    """Where the command is, and what has come; there is one for the process."""

    place: Literal["beginning", "work", "end"] = "beginning"
    code = INTERRUPTED
    raised = False
    number = signal.SIGINT
    """Of the signal for which it was raised."""
    again = False
    """Whether that signal comes once more, because the interruption was lost."""
    stop: "Stop | None" = None


_state = _State()


def catch() -> None:
    """From here on, signals do what this file says; those that the caller of the process ignores stay ignored.

    A thread watches too, since a handler in Python waits for the main thread to come back from a long call in C.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _arrived)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()
    sys.unraisablehook = _unraisable


def end(code: int) -> NoReturn:
    """The command has ended, and the process does: what comes now cannot make it any quicker.

    After an interruption it waits for no thread that still works, and not for the interpreter's own end: that may hang,
    or end by SIGINT whatever the exit code is.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if _state.raised:
        atexit._run_exitfuncs()
        os._exit(code)
    sys.exit(code)


@contextmanager
def at_work() -> Iterator[None]:
    """Within it, an interruption is one KeyboardInterrupt; before, it ends the process, and afterwards does nothing."""
    _state.place = "work"
    try:
        yield
    finally:
        _state.place = "end"


def stop() -> "Stop":
    """What the first signal asks to stop, while somebody listens to it, instead of raising KeyboardInterrupt."""
    from bench.execute.stop import Stop

    _state.stop = Stop()
    return _state.stop


def was_interrupted() -> bool:
    """Whether KeyboardInterrupt was raised here: an error that follows may be of its making."""
    return _state.raised


def exit_code() -> int:
    """Of a command that was interrupted."""
    return _state.code


def _arrived(number: int, _frame: FrameType | None) -> None:
    if number in AT_ONCE:
        _state.code = 128 + number
    if _state.place == "beginning":
        _leave()
    wish = _state.stop
    if wish and wish.heard and not wish.asked and number not in AT_ONCE:
        wish.ask()
    elif _state.place == "work" and not _state.raised:
        _state.raised, _state.number = True, signal.Signals(number)
        raise KeyboardInterrupt


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """An interruption that came where Python can only print it, as while an object is freed, comes once more."""
    if not issubclass(lost.exc_type, KeyboardInterrupt) or _state.place != "work":
        sys.__unraisablehook__(lost)
        return
    _state.raised, _state.again = False, True
    once_more = threading.Timer(ONCE_MORE, signal.pthread_kill, (threading.main_thread().ident, _state.number))
    once_more.daemon = True
    once_more.start()


def _watch(reader: int) -> None:
    count = 0
    while True:
        for number in os.read(reader, 64):
            if _state.again:
                _state.again = False
                continue
            count += 1
            if count > 1 or number in AT_ONCE:
                time.sleep(GRACE if count > 1 else LONG_GRACE)
                _leave()


def _leave() -> None:
    """End the process here and now, and say so, unless the command has. Its workers end with it."""
    try:
        said = b"" if _state.place == "end" else b"bench: interrupted\n"
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + said)
    finally:
        os._exit(_state.code)
