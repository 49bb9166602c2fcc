"""What an ensemble gains over the best of its members: as they are, at equal size, and at equal cost."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from bench.analysis.board_lines import Line
from bench.analysis.controls import Trained, alone, epochs, opponents, trained
from bench.analysis.gain_intervals import Gain, Runs, estimated
from bench.matrix.job import Job
from bench.stats.choice import best_elsewhere

__all__ = ["EnsembleGain", "gains"]

COMPARED = ("gain", "reduced", "grown", "longer", "naive")


class EnsembleGain(NamedTuple):
    """Gains in Recall@1 of one ensemble or model ensemble over the seeds that both sides have, in [-1, 1].

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


class Held(NamedTuple):
    """One ensemble, and which runs of it are held against which others."""

    entry: EnsembleGain
    runs: Mapping[str, Runs] = {}
    """By field of the entry."""


def gains(lines: Sequence[Line], jobs: Mapping[str, Job]) -> list[EnsembleGain]:
    """One entry for each ensemble and model ensemble among the lines of a board, in their order.

    Args:
        lines: of one board.
        jobs: by cell one of its jobs, of cells without a line too, as far as they are known.
    """
    found, by_cell = trained(jobs.values()), {line.cell: line for line in lines}
    ensembles = [line for line in lines if line.kind in {"ensemble", "model_ensemble", "student"}]
    held = [_held(line, jobs.get(line.cell), found, by_cell) for line in ensembles]
    columns = estimated({name: [one.runs.get(name, ()) for one in held] for name in COMPARED}, lines)
    return [
        one.entry._replace(gain=gain, reduced=reduced, grown=grown, longer=longer, naive=naive)
        for one, gain, reduced, grown, longer, naive in zip(held, *columns.values(), strict=True)
    ]


def _held(line: Line, job: Job | None, found: Trained, lines: Mapping[str, Line]) -> Held:
    members = {name: next(iter(jobs.values()), None) for name, jobs in alone(job, found).items()} if job else {}
    if job is None or not members:
        return Held(EnsembleGain(line, why="not stated: its rows do not say what its members were"))
    recalls = {name: lines[one.cell].recalls for name, one in members.items() if one and one.cell in lines}
    if len(recalls) < len(members):
        return Held(EnsembleGain(line, why=_why(job, members, recalls)))
    seeds = sorted(set(line.recalls).intersection(*recalls.values()))
    if not seeds:
        return Held(EnsembleGain(line, why="not stated: no seed was finished by it and by every member"))
    naive = members[max(recalls, key=lambda member: fmean(recalls[member][seed] for seed in seeds))]
    stated = {"naive": _runs((seed, line, _of(naive, lines)) for seed in seeds)}
    chosen = {seed: best for seed in seeds if (name := best_elsewhere(recalls, seed)) and (best := members[name])}
    if not chosen:
        why = "not stated: one seed leaves no other to choose the best member by"
        return Held(EnsembleGain(line, why=why), stated)
    return _compared(Held(EnsembleGain(line), stated), job, chosen, lines)


def _compared(held: Held, job: Job, chosen: Mapping[int, Job], lines: Mapping[str, Line]) -> Held:
    """`chosen`: for every seed the best member."""
    line, often = held.entry.line, [cell for cell, _ in Counter(best.cell for best in chosen.values()).most_common()]
    against = {best.cell: opponents(job, best, line.dim or 0, lines[best.cell].dim or 0) for best in chosen.values()}
    sides = [(seed, lines[best.cell], against[best.cell]) for seed, best in chosen.items()]
    first, width = next(best for best in chosen.values() if best.cell == often[0]), lines[often[0]].dim
    entry = held.entry._replace(
        best=tuple(lines[cell] for cell in often),
        size=line.dim / width if line.dim and width else float("nan"),
        cost=epochs(job) / epochs(first) if epochs(first) else float("nan"),
    )
    runs = {
        "gain": _runs((seed, line, best) for seed, best, _ in sides),
        "reduced": _runs((seed, _of(one.reduced, lines), best) for seed, best, one in sides),
        "grown": _runs((seed, line, _of(one.grown, lines)) for seed, _, one in sides),
        "longer": _runs((seed, line, _of(one.longer, lines)) for seed, _, one in sides),
    }
    return Held(entry, {**held.runs, **runs})


def _of(job: Job | None, lines: Mapping[str, Line]) -> Line | None:
    return lines.get(job.cell) if job else None


def _runs(pairs: Iterable[tuple[int, Line | None, Line | None]]) -> Runs:
    """Those of which both sides were run."""
    return tuple((seed, a, b) for seed, a, b in pairs if a and b and seed in a.recalls and seed in b.recalls)


def _why(job: Job, members: Mapping[str, Job | None], finished: Iterable[str]) -> str:
    labels = {part.digest: part.label for part in job.objective.members if part.digest not in set(finished)}
    parts = [
        f"member {label} {'has no finished run' if members[digest] else 'was not run alone'}"
        for digest, label in labels.items()
    ]
    return f"not stated: {', '.join(parts)}"
