"""The plots of who is better than whom, and by how much. Each public function is one, as in `leaderboard`."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board
from bench.analysis.leading_pairs import MOST_LEADING, LeadingPairs, leading_pairs
from bench.report.plots.axes import HUES, ROW, WIDTH, canvas, figure_of, key, within, wrapped
from bench.report.plots.looks import Look, looks, scattered
from bench.report.plots.svg import INK, Drawing, Logs
from bench.report.tables import Cell, Table, percent
from bench.stats.estimate import Numbers
from bench.stats.ranks import Flags

__all__ = ["behind_the_leader", "who_beats_whom"]

BETTER, WORSE = HUES[0], HUES[3]
UP = np.array([(-0.3, 0.26), (0.3, 0.26), (0, -0.3)])
"""A triangle; y grows downwards."""
DOWN = -UP * (0.72, 0.72)
CORNER = [(-0.16, -0.16), (0, -0.04), (0.16, -0.16), (0.04, 0)]
CROSS = np.array([*CORNER, *((-x, -y) for x, y in CORNER)])
FEW = 20
"""Columns at most that all have their number; of more, every second has."""
FAR = 0.35
"""How much of the axis a floor far below may take, before it is named at its edge instead."""


def behind_the_leader(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """How far each method is behind the leader, in points of Recall@1, with the 95 % interval over new seeds. A hollow
    mark is not surely worse: it cannot be told apart from the leader, even if its own interval leaves 0 out, because so
    many pairs are compared; or it has too few seeds. The dotted line is the best method without training, unless that
    one leads.
    """
    shown = looks(boards)
    for board in boards:
        about, found = (board.dataset, board.backbone), leading_pairs(board)
        if found and _behind(found):
            yield Drawing(about, _forest(found, board, shown), _numbers(found))
        elif board.lines:
            yield Drawing(about, None, why=f"There is no figure of differences: {_why(board)}.")


def who_beats_whom(boards: Sequence[Board], logs: Logs) -> Iterator[Drawing]:  # noqa: ARG001
    """Who beats whom, by rank: read a row from left to right. A large triangle upwards says that the row's method is
    surely better than the column's, a small one downwards that it is surely worse, by Holm's correction over all pairs
    of the board. Where a cell is empty, the two cannot be told apart.
    """
    shown = looks(boards)
    for board in boards:
        found = leading_pairs(board)
        if found and len(found.lines) > 1:
            yield Drawing((board.dataset, board.backbone), _matrix(found, board, shown))


def _why(board: Board) -> str:
    if sum(FIRST in line.scores and line.kind != "control" for line in board.lines) < 2:
        return "this board has one method, and nothing to hold it against"
    return "no method has the seeds to be told apart from another; run a second seed"


def _behind(found: LeadingPairs) -> list[int]:
    """The places of the trained methods that can be held against the leader, best first."""
    differences = found.difference[found.leader]
    return [
        at
        for at, line in enumerate(found.lines)
        if at != found.leader and not line.outside and not math.isnan(differences[at])
    ]


def _of_all(found: LeadingPairs) -> str:
    return f", best {MOST_LEADING} of {found.of:,}" if found.of > len(found.lines) else ""


def _forest(found: LeadingPairs, board: Board, shown: Mapping[str, Look]) -> Figure:
    """One row per method."""
    leader, rows = found.lines[found.leader], _behind(found)
    means = 100 * found.difference[rows, found.leader]
    widths = np.nan_to_num(100 * found.half_width[rows, found.leader])
    y = np.arange(len(rows)) + 0.5
    title = f"Behind {within(leader.label, 28)}: {board.dataset}, {board.backbone}{_of_all(found)}"
    own = [shown[found.lines[at].method] for at in rows]
    urls = [look.url for look in own]
    axes = canvas([wrapped(found.lines[at].label) for at in rows], title, urls=urls)
    axes.hlines(y, means - widths, means + widths, colors=INK, linewidth=1.1, alpha=0.75, urls=urls)
    axes.axvline(0, color=INK, linewidth=1.2)
    for sure in (True, False):
        alike = [row for row, at in enumerate(rows) if found.better[found.leader, at] == sure]
        scattered(axes, np.column_stack([means, y])[alike], [own[row] for row in alike], size=6, hollow=not sure)
    ends = min(0.0, float((means - widths).min())), max(0.0, float((means + widths).max()))
    low, high, note = _with_floor(axes, ends, _floor(board), leader)
    spare = 0.03 * (high - low) or 0.1
    axes.set_xlim(low - spare, high + spare)
    axes.set_xlabel(f"points of Recall@1 less {100 * leader.scores[FIRST].mean:.1f}, those of the leader")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    key(figure_of(axes), [("●", INK, "surely worse"), ("○", INK, "not surely worse"), *note])
    return figure_of(axes)


def _with_floor(
    axes: Axes, ends: tuple[float, float], floor: Line | None, leader: Line
) -> tuple[float, float, list[tuple[str, str, str]]]:
    """The ends of the axis with the floor's line on it, unless that is too far away; and what the key says of it."""
    low, high = ends
    if floor is None or floor.cell == leader.cell:
        return low, high, []
    at = 100 * (floor.scores[FIRST].mean - leader.scores[FIRST].mean)
    score = f"{floor.label} ({at:+.1f})".replace("-", "−")
    if at < low - FAR * (high - low):
        return low, high, [("◂", INK, score)]
    axes.axvline(at, color=INK, linestyle=":", linewidth=1.2)
    return min(low, at), max(high, at), [("┊", INK, score)]


def _floor(board: Board) -> Line | None:
    """The best line without training."""
    return next((line for line in board.lines if FIRST in line.scores and line.outside), None)


def _numbers(found: LeadingPairs) -> Table:
    leader = found.leader
    rows = []
    for at in _behind(found):
        gap, width = found.difference[at, leader], found.half_width[at, leader]
        sure, known = found.better[leader, at], found.known[leader, at]
        verdict = "worse" if sure else "cannot be told apart" if known else "no verdict"
        label = found.lines[at].label
        rows.append((Cell(label, label.lower()), Cell(percent(gap, width, sign="+"), gap), Cell(verdict, verdict)))
    return Table(("Objective", f"Less {found.lines[leader].label}", "Verdict"), tuple(rows), words=1)


def _matrix(found: LeadingPairs, board: Board, shown: Mapping[str, Look]) -> Figure:
    count = len(found.lines)
    title = f"Who beats whom: {board.dataset}, {board.backbone}{_of_all(found)}"
    labels = [f"{within(line.label, 30)}  {at}" for at, line in enumerate(found.lines, start=1)]
    axes = canvas(labels, title, urls=[shown[line.method].url for line in found.lines], bottom=0.3)
    width = axes.get_position().width * WIDTH
    axes.set_xlim(0, max(count, width / ROW))
    axes.set_axis_off()
    for at in range(0, count, 1 if count <= FEW else 2):
        axes.text(at + 0.5, count + 0.6, str(at + 1), ha="center", va="center", size=8)
    edges = np.arange(count + 1)
    axes.hlines(edges, 0, count, colors=INK, linewidth=0.4, alpha=0.3)
    axes.vlines(edges, 0, count, colors=INK, linewidth=0.4, alpha=0.3)
    none = ~found.known & ~np.eye(count, dtype=bool)
    _put(axes, found.better, UP, BETTER)
    _put(axes, found.better.T, DOWN, WORSE)
    _put(axes, none, CROSS, INK)
    notes = [("▲", BETTER, "row surely better"), ("▼", WORSE, "row surely worse"), ("□", INK, "cannot be told apart")]
    key(figure_of(axes), notes + [("×", INK, "no verdict")] * bool(none.any()))
    return figure_of(axes)


def _put(axes: Axes, where: Flags, shape: Numbers, colour: str) -> None:
    """One path with the shape in every cell [row, column] that holds."""
    rows, columns = np.nonzero(where)
    if not len(rows):
        return
    corners = np.column_stack([columns, rows])[:, None, :] + 0.5 + shape
    closed = np.concatenate([corners, corners[:, :1]], axis=1)
    codes = np.tile([Path.MOVETO, *[Path.LINETO] * (len(shape) - 1), Path.CLOSEPOLY], len(rows))
    axes.add_patch(PathPatch(Path(closed.reshape(-1, 2), codes), facecolor=colour, linewidth=0))
