"""What an ensemble gains over the best of its members: as they are, at equal size, and at equal cost."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from bench.analysis.boards import Board, Line
from bench.stats.intervals import Gain, best_elsewhere, interval, paired_gain

__all__ = ["EnsembleGain", "gains"]


class EnsembleGain(NamedTuple):
    """Gains in Recall@1 of one ensemble or model ensemble, paired by seed, in [-1, 1], not points.

    In each seed the best member is the one that is best over the other seeds. A gain is None where what it compares
    with was not run.
    """

    line: Line
    best: tuple[Line, ...] = ()
    """The best members, the one chosen in most seeds first."""
    gain: Gain | None = None
    """Over the best member."""
    reduced: Gain | None = None
    """Over the best member, once reduced to its size; the plain gain where the sizes agree."""
    grown: Gain | None = None
    """Over the best member trained at the ensemble's size; the plain gain where the sizes agree."""
    longer: Gain | None = None
    """Over the best member trained for as many images as the ensemble's; the plain gain where these agree."""
    naive: Gain | None = None
    """Over the member that is best by these same numbers."""
    size: float = float("nan")
    """Values per embedding, relative to the best member's."""
    cost: float = float("nan")
    """Training images, relative to the best member's."""
    why: str = ""
    """Why no gain is stated."""


def gains(board: Board) -> list[EnsembleGain]:
    """One entry for each ensemble and model ensemble of the board, in the board's order."""
    return [_gain(line, board) for line in board.lines if line.kind in {"ensemble", "model_ensemble"}]


def _gain(line: Line, board: Board) -> EnsembleGain:
    members = {member: _alone(member, line, board.lines) for member in line.members}
    missing = [member for member, found in members.items() if found is None]
    if missing:
        return EnsembleGain(line, why=_why(missing, board))
    alone = {member: found for member, found in members.items() if found is not None}
    recalls = {member: found.recalls for member, found in alone.items()}
    seeds = sorted(set(line.recalls).intersection(*recalls.values()))
    if not seeds:
        return EnsembleGain(line, why="not stated: no seed was finished by it and by every member")
    naive = max(alone, key=lambda member: interval([recalls[member][seed] for seed in seeds]).mean)
    found = EnsembleGain(line, naive=paired_gain({s: line.recalls[s] for s in seeds}, recalls[naive]))
    chosen = {seed: alone[name] for seed in seeds if (name := best_elsewhere(recalls, seed)) is not None}
    if not chosen:
        return found._replace(why="not stated: one seed leaves no other to choose the best member by")
    return _compared(found, chosen, sum(_epochs(alone[member]) for member in line.members), board.lines)


def _compared(found: EnsembleGain, chosen: Mapping[int, Line], epochs: int, lines: Sequence[Line]) -> EnsembleGain:
    """`chosen`: for every seed its best member; `epochs`: those of the members of a model ensemble together."""
    line = found.line
    often = [best for best, _ in Counter(member.label for member in chosen.values()).most_common()]
    epochs = epochs if line.kind == "model_ensemble" else _epochs(line)

    def reduced(best: Line) -> tuple[Line | None, Line | None]:
        return (line if line.dim == best.dim else _reduced(line, best.dim, lines)), best

    def grown(best: Line) -> tuple[Line | None, Line | None]:
        return line, (best if line.dim == best.dim else _again(best, lines, dim=line.dim))

    def longer(best: Line) -> tuple[Line | None, Line | None]:
        return line, (best if epochs == _epochs(best) else _again(best, lines, epochs=epochs))

    first = next(member for member in chosen.values() if member.label == often[0])
    return found._replace(
        best=tuple(next(member for member in chosen.values() if member.label == label) for label in often),
        gain=_over(chosen, lambda best: (line, best)),
        reduced=_over(chosen, reduced),
        grown=_over(chosen, grown),
        longer=_over(chosen, longer),
        size=float("nan") if line.dim is None or not first.dim else line.dim / first.dim,
        cost=epochs / _epochs(first) if _epochs(first) else float("nan"),
    )


def _over(chosen: Mapping[int, Line], sides: Callable[[Line], tuple[Line | None, Line | None]]) -> Gain | None:
    """Gain of one side over the other, in the seeds in which both were run; None where there are none."""
    ours: dict[int, float] = {}
    theirs: dict[int, float] = {}
    for seed, best in chosen.items():
        one, other = sides(best)
        if one is not None and other is not None and seed in one.recalls and seed in other.recalls:
            ours[seed], theirs[seed] = one.recalls[seed], other.recalls[seed]
    return paired_gain(ours, theirs) if ours else None


def _alone(member: str, line: Line, lines: Sequence[Line]) -> Line | None:
    """The line of one member: under the ensemble's own recipe, else under the board's most common, else under any."""
    found = [other for other in lines if other.objective == member and other is not line and other.kind != "control"]
    return min(found, key=lambda other: (other.variant != line.variant, other.variant != ""), default=None)


def _again(best: Line, lines: Sequence[Line], **changes: int | None) -> Line | None:
    """The line that trains the same under another recipe."""
    wanted = {**best.recipe, **{name: str(value) for name, value in changes.items()}}
    return next((line for line in lines if line.objective == best.objective and line.recipe == wanted), None)


def _reduced(line: Line, dim: int | None, lines: Sequence[Line]) -> Line | None:
    """The line of an ensemble reduced to so many numbers."""
    wanted = (("control", (line.objective,), dim), line.recipe)
    return next((other for other in lines if ((other.kind, other.members, other.dim), other.recipe) == wanted), None)


def _epochs(line: Line) -> int:
    return int(line.recipe["epochs"])


def _why(missing: Sequence[str], board: Board) -> str:
    tried = {cell.objective for cell in board.unfinished}
    parts = [f"member {name} {'has no finished run' if name in tried else 'was not run alone'}" for name in missing]
    return f"not stated: {', '.join(parts)}"
