"""The leaderboard in short for a terminal: as wide as it is, in letters that it has."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from types import MappingProxyType
from typing import cast

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table as Grid
from rich.text import Text

from bench.analysis.boards import Board
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.report.tables import Table, percent, recall_axis, scoreboard, shortened

__all__ = ["ON_SCREEN", "terminal", "whisker"]

ON_SCREEN = 100
"""Lines of a table, and sentences of a kind, on a terminal at most."""
NARROW = ("Objective", "Rank", "Recall@1", "Seeds", "Time")
WIDE = ("Objective", "Rank", "Recall@1", "MAP@R", "NMI", "Seeds", "Time")
DRAWN = "Recall@1"
WIDE_FROM = 110
"""Letters of a terminal that has room for more than the main score."""
WHISKER = 16
SIGNS = {False: ("├", "─", "┤", "●", "◂ below"), True: ("|", "-", "|", "o", "< below")}
"""Left end, line, right end and mean, and what has its mean off the axis; the second for terminals without UTF-8."""
Span = tuple[float, float, float]


def terminal(boards: Sequence[Board], *, spelt: Mapping[str, str] = MappingProxyType({})) -> Group:
    """One table per board, for `rich.console.Console.print`, with gains and what has no scores below it.

    `spelt` says what stands for a sign that the terminal lacks, so that columns keep their width.
    """
    return Group(*(part for board in boards for part in _board(board, spelt)))


def whisker(span: Span, *, ascii_only: bool = False) -> str:
    """An interval drawn in WHISKER letters: low end, mean and high end, in percent of the axis."""
    left, line, right, mean, beyond = SIGNS[ascii_only]
    if span[1] < 0:
        return beyond
    low, middle, high = (round(min(max(end, 0), 100) / 100 * (WHISKER - 1)) for end in span)
    letters = [" "] * WHISKER
    letters[low : high + 1] = [line] * (high + 1 - low)
    letters[low], letters[high], letters[middle] = left, right, mean
    return "".join(letters)


class _Scores:
    """The lines of a board. What it looks like is decided where it is printed."""

    def __init__(self, board: Board, table: Table, spelt: Mapping[str, str]) -> None:
        self.board, self.table, self.spelt = board, table, spelt

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wanted = [head for head in (WIDE if options.max_width >= WIDE_FROM else NARROW) if head in self.table.heads]
        title = Text(f"{self.board.dataset}, {self.board.backbone}")
        grid = Grid(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
        spans, ends = _spans(self.board, self.table)
        for head in wanted:
            left = head == wanted[0]
            grid.add_column(head, justify="left" if left else "right", no_wrap=not left, overflow="fold")
            if head == DRAWN:
                grid.add_column(f"{ends[0]}{ends[1]:>{WHISKER - len(ends[0])}}", no_wrap=True, min_width=WHISKER)
        signs = str.maketrans({sign: text for sign, text in self.spelt.items() if _lacks(options.encoding, sign)})
        for row, span in zip(self.table.rows, spans, strict=True):
            cells = dict(zip(self.table.heads, row, strict=True))
            drawn = whisker(span, ascii_only=options.ascii_only) if span else ""
            texts = {head: Text(cells[head].text.translate(signs), "bold" * cells[head].marked) for head in wanted}
            grid.add_row(*(one for head in wanted for one in (texts[head], *[Text(drawn)] * (head == DRAWN))))
        yield grid


def _lacks(encoding: str, sign: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return True
    return False


def _spans(board: Board, table: Table) -> tuple[list[Span | None], tuple[str, str]]:
    """The interval of every row on an axis that what is trained fills, and the ends of that axis in percent."""
    column = table.heads.index(DRAWN) if DRAWN in table.heads else 0
    known = [row[column].span for row in table.rows]
    lines = zip_longest(known, board.lines[: len(known)])
    trained = [span for span, line in lines if span and line and not line.outside]
    low = min((span[0] for span in trained), default=0.0)
    high = max((span[2] for span in trained), default=100.0)
    width = (high - low) or 1.0
    first, last = recall_axis(board)
    ends = [f"{100 * (first + (last - first) * end / 100):.1f}" for end in (low, high)]
    moved = [span and tuple(100 * (end - low) / width for end in span) for span in known]
    return cast(list[Span | None], moved), (ends[0], ends[1])


def _board(board: Board, spelt: Mapping[str, str]) -> list[RenderableType]:
    table = shortened(scoreboard(board), ON_SCREEN)
    gained = [_gained(entry) for entry in board.gains]
    holes = [
        f"{cell.label}, seed {', '.join(map(str, cell.seeds))}, {cell.status}: {cell.reason}"
        for cell in board.unfinished
    ]
    scores = (
        _Scores(board, table, spelt) if board.lines else Text(f"{board.dataset}, {board.backbone}: no cell has scores.")
    )
    rest = [f"and {table.left_out:,} more lines, which the files of `bench report` have"] if table.left_out else []
    said = filter(None, (*rest, board.verdict.sentence, *_some(gained)))
    return [scores, *map(Text, (*said, *_some(holes), *board.notes)), Text()]


def _some(sentences: Sequence[str]) -> list[str]:
    """So many as a terminal holds, and how many more there are."""
    more = len(sentences) - ON_SCREEN
    return [*sentences[:ON_SCREEN], *([f"and {more:,} more of this kind"] if more > 0 else [])]


def _gained(entry: EnsembleGain) -> str:
    """One sentence on an ensemble: its gain over the best member, then at equal size and cost where these differ."""
    label = entry.line.label
    if entry.gain is None:
        return f"{label}: {_points(entry.naive)} over the best of its members by these scores" if entry.naive else ""
    others = (
        (entry.size, entry.reduced, "reduced to member size"),
        (entry.size, entry.grown, "vs best member, same size"),
        (entry.cost, entry.longer, "vs best member, same cost"),
    )
    parts = [f"{_points(gain)} {name}" for ratio, gain, name in others if gain and ratio != 1]
    return "; ".join([f"{label}: {_points(entry.gain)} over {', '.join(line.label for line in entry.best)}", *parts])


def _points(gain: Gain) -> str:
    return f"{percent(gain.mean, gain.half_width, sign='+')} points"
