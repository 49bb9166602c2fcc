"""What an ensemble gains over the best of its members: as they are, at equal size, and at equal cost."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bench.analysis.boards import Board, Line
from bench.analysis.controls import Alone, Measured, Opponents, Trained, alone, epochs, opponents, trained
from bench.matrix.job import Job
from bench.stats.intervals import Gain, interval, paired_gain

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
    found = trained(board.jobs.values())
    return [_gain(line, board, found) for line in board.lines if line.kind in {"ensemble", "model_ensemble"}]


def _gain(line: Line, board: Board, found: Trained) -> EnsembleGain:
    own = {job.seed: job for key in line.keys if (job := board.jobs.get(key))}
    if not own:
        return EnsembleGain(line, why="not stated: its rows do not say what its members were; run it again")
    job = next(iter(own.values()))
    members = alone(job, found)
    recalls = {
        digest: {seed: board.measured[other.key].recall for seed, other in jobs.items() if other.key in board.measured}
        for digest, jobs in members.items()
    }
    if not all(recalls.values()):
        return EnsembleGain(line, why=_why(job, members, recalls))
    seeds = sorted(set(line.recalls).intersection(*recalls.values()))
    if not seeds:
        return EnsembleGain(line, why="not stated: no seed was finished by it and by every member")
    naive = max(recalls, key=lambda member: interval([recalls[member][seed] for seed in seeds]).mean)
    stated = EnsembleGain(line, naive=paired_gain({s: line.recalls[s] for s in seeds}, recalls[naive]))
    held = [(own[seed], one) for seed in seeds if (one := opponents(own[seed], members, board.measured))]
    if not held:
        return stated._replace(why="not stated: one seed leaves no other to choose the best member by")
    return _compared(stated, held, board)


def _compared(stated: EnsembleGain, held: Sequence[tuple[Job, Opponents]], board: Board) -> EnsembleGain:
    """`held`: for every seed the ensemble's job, and whom it is held against."""
    cells, lines = board.measured, {key: line for line in board.lines for key in line.keys}
    often = Counter(lines[one.best.key].cell for _, one in held).most_common()
    best = tuple(next(line for line in board.lines if line.cell == cell) for cell, _ in often)
    job, first = next((job, one.best) for job, one in held if lines[one.best.key] == best[0])
    size, width = cells[job.key].dim, cells[first.key].dim
    return stated._replace(
        best=best,
        gain=_over([(job, one.best) for job, one in held], cells),
        reduced=_over([(one.reduced, one.best) for _, one in held], cells),
        grown=_over([(job, one.grown) for job, one in held], cells),
        longer=_over([(job, one.longer) for job, one in held], cells),
        size=size / width if size else float("nan"),
        cost=epochs(job) / epochs(first) if epochs(first) else float("nan"),
    )


def _over(pairs: Sequence[tuple[Job | None, Job | None]], cells: Mapping[str, Measured]) -> Gain | None:
    """Gain of one side over the other, in the seeds in which both were run; None where there are none."""
    both = [(a, b) for a, b in pairs if a and b and a.key in cells and b.key in cells]
    ours = {a.seed: cells[a.key].recall for a, _ in both}
    theirs = {b.seed: cells[b.key].recall for _, b in both}
    return paired_gain(ours, theirs) if both else None


def _why(job: Job, members: Alone, recalls: Mapping[str, Mapping[int, float]]) -> str:
    labels = {part.digest: part.label for part in job.objective.members if not recalls[part.digest]}
    parts = [
        f"member {label} {'has no finished run' if members[digest] else 'was not run alone'}"
        for digest, label in labels.items()
    ]
    return f"not stated: {', '.join(parts)}"
