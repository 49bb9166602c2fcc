"""The console of rich that commands print tables and bars to."""

import errno
import os

from rich.console import Console

__all__ = ["PipedConsole"]


class PipedConsole(Console):
    """One that leaves a broken pipe to its caller: rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        """Raises what a pipe raises that nobody reads."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
