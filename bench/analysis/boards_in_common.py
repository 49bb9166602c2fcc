"""Where two methods meet: the boards that have both, of one source or of two, and why others are not comparable."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.analysis.board_lines import Line
from bench.analysis.differences import Method
from bench.analysis.differing_settings import differing_fields
from bench.analysis.methods_of_rows import Place, ScoredBoard
from bench.matrix.job import ConfigError
from bench.stats.difference import Indices

__all__ = ["PairOfBoards", "pairs_of_boards"]

DIFFERENT = {
    "dataset": "other parameters of the dataset",
    "data": "another version of the data",
    "backbone": "other parameters of the backbone",
    "protocol": "another protocol",
}


class PairOfBoards(NamedTuple):
    """Two methods on what is one board, and the others of it."""

    board: ScoredBoard
    """A's own."""
    methods: tuple[Method, ...]
    """All of the board; of two sources, all of both."""
    only: tuple[Indices, Indices] | None
    """The pairs tested together. None: all. Of two sources: A and B, and each cell with itself."""
    stored: tuple[tuple[Path, tuple[str, ...]], ...]
    """Where the jobs of each method lie, and their keys; no keys but for A and B."""
    a: str
    """Label of A among the methods."""
    b: str
    notes: tuple[str, ...]


def pairs_of_boards(
    ours: Sequence[ScoredBoard],
    first: Mapping[int, int],
    theirs: Sequence[ScoredBoard],
    second: Mapping[int, int],
    *,
    names: tuple[str, str],
) -> tuple[list[PairOfBoards], list[str]]:
    """The boards that have A and B, and sentences on those that have one of them or cannot be compared.

    `first` and `second` give, by the place of a board in `ours` and `theirs`, the place of the line of A and B; `names`
    are what these two are called in a sentence.

    Raises:
        ConfigError: A is B.
    """
    places = {theirs[at].place: at for at in second}
    found = []
    for at, line in first.items():
        match = places.get(ours[at].place)
        if match is not None:
            found.append(_pair(ours[at], line, theirs[match], second[match]))
    met = {one.board.place for one in found}
    alone = [
        [board for board in (boards[at] for at in places_) if board.place not in met]
        for boards, places_ in ((ours, first), (theirs, second))
    ]
    return found, _why_apart(*alone, names=names, any_met=bool(met))


def _pair(one: ScoredBoard, line: int, other: ScoredBoard, their_line: int) -> PairOfBoards:
    if one is other and line == their_line:
        raise ConfigError(
            f"{one.methods[line].label!r} is compared with itself: name two methods, or another file with --against."
        )
    a, b = one.lines[line], other.lines[their_line]
    methods, cells, ends = _together(one, other, line, their_line)
    stored: list[tuple[Path, tuple[str, ...]]] = [(one.source, ())] * len(methods)
    stored[ends[0]], stored[ends[1]] = (one.source, a.keys), (other.source, b.keys)
    labels = methods[ends[0]].label, methods[ends[1]].label
    notes = (*dict.fromkeys((*one.board.notes, *other.board.notes)), *_recipes(a, b, labels))
    only = None if one is other else _with_themselves(cells, ends)
    return PairOfBoards(one, tuple(methods), only, tuple(stored), *labels, notes)


def _together(
    one: ScoredBoard, other: ScoredBoard, line: int, their_line: int
) -> tuple[list[Method], list[str], tuple[int, int]]:
    """The methods of both boards, their cells, and the places of A and B; the same runs in both sources count once."""
    if one is other:
        return list(one.methods), [], (line, their_line)
    ours = [method._replace(label=f"{method.label} [{one.source}]") for method in one.methods]
    known = {method.models for method in ours}
    new = [at for at, method in enumerate(other.methods) if at == their_line or method.models not in known]
    theirs = [other.methods[at]._replace(label=f"{other.methods[at].label} [{other.source}]") for at in new]
    cells = [found.cell for found in one.lines] + [other.lines[at].cell for at in new]
    return ours + theirs, cells, (line, len(ours) + new.index(their_line))


def _with_themselves(cells: Sequence[str], ends: tuple[int, int]) -> tuple[Indices, Indices]:
    """The pairs of one cell in both sources, and A with B."""
    alike = {(cells.index(cell), at) for at, cell in enumerate(cells) if cells.index(cell) < at}
    first, second = np.array(sorted(alike | {ends}), np.intp).T
    return first, second


def _recipes(a: Line, b: Line, labels: tuple[str, str]) -> Iterator[str]:
    ours, theirs = differing_fields(a.recipe, b.recipe), differing_fields(b.recipe, a.recipe)
    if ours:
        yield f"They have different recipes: {labels[0]} has {ours}; {labels[1]} has {theirs}."


def _why_apart(
    ours: Sequence[ScoredBoard], theirs: Sequence[ScoredBoard], *, names: tuple[str, str], any_met: bool
) -> list[str]:
    by_name, (a, b), said = {_name(board): board for board in theirs}, names, list[str]()
    for board in ours:
        if (other := by_name.pop(_name(board), None)) is not None:
            reasons = ", ".join(_differences(board.place, other.place))
            said.append(f"{', '.join(_name(board))}: {a} and {b} cannot be compared, because they have {reasons}.")
    left = [board for board in ours if _name(board) not in {_name(other) for other in theirs}]
    places = [", ".join(_name(board)) for board in left], [", ".join(name) for name in by_name]
    if any_met or said:
        said += [f"Only {name} is on {'; '.join(one)}." for name, one in zip(names, places, strict=True) if one]
    else:
        here, there = ("; ".join(one) for one in places)
        said.append(f"{a} is on {here}, {b} on {there}: no dataset and backbone has both.")
    return said


def _differences(one: Place, other: Place) -> Iterator[str]:
    for field, text in DIFFERENT.items():
        ours, theirs = getattr(one, field), getattr(other, field)
        if ours != theirs:
            yield f"{text} ({str(ours)[:8]} and {str(theirs)[:8]})"


def _name(one: ScoredBoard) -> tuple[str, str]:
    """Labels of dataset and backbone, without the version of the data."""
    return one.board.dataset.partition(" (data ")[0], one.board.backbone
