"""What an ensemble gains over the best of its members: as they are, at equal size, and at equal cost."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bench.analysis.controls import Trained, alone, epochs, opponents, trained
from bench.analysis.lines import Line
from bench.matrix.job import Job
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


def gains(lines: Sequence[Line], jobs: Mapping[str, Job]) -> list[EnsembleGain]:
    """One entry for each ensemble and model ensemble among the lines of a board, in their order.

    Args:
        lines: of one board.
        jobs: by cell one of its jobs, of cells without a line too, as far as they are known.
    """
    found, by_cell = trained(jobs.values()), {line.cell: line for line in lines}
    ensembles = [line for line in lines if line.kind in {"ensemble", "model_ensemble"}]
    return [_gain(line, jobs.get(line.cell), found, by_cell) for line in ensembles]


def _gain(line: Line, job: Job | None, found: Trained, lines: Mapping[str, Line]) -> EnsembleGain:
    members = {name: next(iter(jobs.values()), None) for name, jobs in alone(job, found).items()} if job else {}
    if job is None or not members:
        return EnsembleGain(line, why="not stated: its rows do not say what its members were")
    recalls = {name: lines[one.cell].recalls for name, one in members.items() if one and one.cell in lines}
    if len(recalls) < len(members):
        return EnsembleGain(line, why=_why(job, members, recalls))
    seeds = sorted(set(line.recalls).intersection(*recalls.values()))
    if not seeds:
        return EnsembleGain(line, why="not stated: no seed was finished by it and by every member")
    naive = max(recalls, key=lambda member: interval([recalls[member][seed] for seed in seeds]).mean)
    stated = EnsembleGain(line, naive=paired_gain({s: line.recalls[s] for s in seeds}, recalls[naive]))
    chosen = {seed: best for seed in seeds if (name := best_elsewhere(recalls, seed)) and (best := members[name])}
    if not chosen:
        return stated._replace(why="not stated: one seed leaves no other to choose the best member by")
    return _compared(stated, job, chosen, lines)


def _compared(stated: EnsembleGain, job: Job, chosen: Mapping[int, Job], lines: Mapping[str, Line]) -> EnsembleGain:
    """`chosen`: for every seed the best member."""
    line, often = stated.line, [cell for cell, _ in Counter(best.cell for best in chosen.values()).most_common()]
    held = {best.cell: opponents(job, best, line.dim or 0, lines[best.cell].dim or 0) for best in chosen.values()}
    sides = [(seed, lines[best.cell], held[best.cell]) for seed, best in chosen.items()]
    first, width = next(best for best in chosen.values() if best.cell == often[0]), lines[often[0]].dim
    return stated._replace(
        best=tuple(lines[cell] for cell in often),
        gain=_over((seed, line, best) for seed, best, _ in sides),
        reduced=_over((seed, _of(one.reduced, lines), best) for seed, best, one in sides),
        grown=_over((seed, line, _of(one.grown, lines)) for seed, _, one in sides),
        longer=_over((seed, line, _of(one.longer, lines)) for seed, _, one in sides),
        size=line.dim / width if line.dim and width else float("nan"),
        cost=epochs(job) / epochs(first) if epochs(first) else float("nan"),
    )


def _of(job: Job | None, lines: Mapping[str, Line]) -> Line | None:
    return lines.get(job.cell) if job else None


def _over(pairs: Iterable[tuple[int, Line | None, Line | None]]) -> Gain | None:
    """Gain of one side over the other, in the seeds in which both were run; None where there are none."""
    both = {seed: (a.recalls.get(seed), b.recalls.get(seed)) for seed, a, b in pairs if a and b}
    ours = {seed: one for seed, (one, other) in both.items() if one is not None and other is not None}
    theirs = {seed: other for seed, (_, other) in both.items() if seed in ours and other is not None}
    return paired_gain(ours, theirs) if ours else None


def _why(job: Job, members: Mapping[str, Job | None], finished: Iterable[str]) -> str:
    labels = {part.digest: part.label for part in job.objective.members if part.digest not in set(finished)}
    parts = [
        f"member {label} {'has no finished run' if members[digest] else 'was not run alone'}"
        for digest, label in labels.items()
    ]
    return f"not stated: {', '.join(parts)}"
