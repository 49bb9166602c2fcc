"""A wish to stop: one part of a process has it, another one listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe

__all__ = ["Stop", "Stopped"]


class Stopped(KeyboardInterrupt):
    """The run was asked to stop, and has: finished jobs are kept, and the same call continues."""


class Stop:
    """A wish that is uttered once and for all, from a signal handler or from another thread."""

    def __init__(self) -> None:
        self.asked = False
        self.heard = False
        """Whether somebody is listening. Elsewhere the wish changes nothing before somebody does."""
        self._reader, self._writer = Pipe(duplex=False)

    def ask(self) -> None:
        """Wish it."""
        if not self.asked:
            self.asked = True
            self._writer.send_bytes(b"stop")

    def fileno(self) -> int:
        """What is ready to be read once the wish is uttered, for `multiprocessing.connection.wait`."""
        return self._reader.fileno()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, the wish is heard."""
        self.heard = True
        try:
            yield
        finally:
            self.heard = False
