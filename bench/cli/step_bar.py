"""How far one long step is: a bar on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn

from bench.datasets.acquire.steps import Unit
from bench.matrix.printable import without_control

__all__ = ["bar", "can_redraw", "drawn", "plain_line"]

SECONDS = 10.0
NARROW = 110
"""Width of a terminal, in letters, that needs a shorter bar."""


def drawn(console: Console, *columns: ProgressColumn) -> Progress:
    """Bars that go when they end: a name, the bar, and these columns; on a terminal alone."""
    named = (TextColumn("{task.description}"), BarColumn(bar_width=30 if console.width > NARROW else 10))
    return Progress(*named, *columns, console=console, transient=True, disable=not can_redraw(console))


def can_redraw(console: Console) -> bool:
    """Whether it is a terminal that can draw a line anew."""
    return console.is_terminal and not console.is_dumb_terminal


def plain_line(console: Console, text: str) -> None:
    """One line, as it is: not wrapped, nothing in it taken for markup, control characters as escapes."""
    console.print(without_control(text), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def bar(
    console: Console, name: str, unit: Unit, *, seconds: float = SECONDS
) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with what is done and, where that is known, of how much.

    Args:
        console: where it is shown.
        name: what is being done.
        unit: of the amounts; those given are not yet divided by its size.
        seconds: between two lines where there is no terminal; the first one comes that late too.
    """
    with drawn(console, TextColumn("{task.fields[amount]}"), TimeElapsedColumn()) as progress:
        task = progress.add_task(name, total=None, amount="")
        last = time.monotonic()

        def update(done: int, total: int | None) -> None:
            nonlocal last
            amount = " of ".join(format(count / unit.size, unit.form) for count in (done, total) if count is not None)
            progress.update(task, completed=done, total=total, amount=f"{amount} {unit.name}")
            if not can_redraw(console) and time.monotonic() - last >= seconds:
                last = time.monotonic()
                plain_line(console, f"{name}: {amount} {unit.name}")

        yield update
