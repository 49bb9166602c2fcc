"""From stored rows to boards: one board per dataset and backbone, one line per cell. Pure values, no text layout."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.analysis.controls import Measured, measured
from bench.analysis.identity import identify
from bench.analysis.settings import UNUSED, difference, flat, settings, told_apart, usual
from bench.matrix.job import Job
from bench.matrix.recipe import complete
from bench.stats.intervals import interval
from bench.store.columns import known, scores

__all__ = ["Board", "Line", "Score", "Unfinished", "boards"]

FIRST = "recall_at_1"
LOOKS = ("validation_recall_at_1", "recall_at_1_selected", "recall_at_1_last", "recall_at_1_oracle")
OF_A_LINE = (
    *("objective", "variant", "kind", "members", "seed", "key", "recipe", "epoch"),
    *("embedding_dim", "seconds", "seconds_train"),
)


class Score(NamedTuple):
    """One metric of one line, in [0, 1]."""

    mean: float
    half_width: float
    """Of the 95 % interval over seeds; NaN for one seed."""
    seeds: int
    """How many seeds have a value."""


class Line(NamedTuple):
    """One cell of a matrix: what is averaged over seeds, and nothing else is."""

    cell: str
    objective: str
    variant: str
    """The recipe fields in which it differs from the board's most common recipe, such as "epochs=0"; mostly empty.

    Behind them, where another line has the same label, the parameters in which these differ."""
    kind: str
    members: tuple[str, ...]
    scores: Mapping[str, Score]
    recalls: Mapping[int, float]
    """Recall@1 of every seed that has one, for paired differences."""
    keys: tuple[str, ...]
    done: int
    seeds: int
    """Seeds asked for; `done` of them gave scores."""
    dim: int | None
    seconds: float
    """Mean seconds to train one seed; for a model ensemble, to fuse the stored embeddings."""
    recipe: Mapping[str, str]
    """Every field of its recipe, as text."""
    looks: Mapping[str, Score]
    """What was seen of it while it learned, by column, in [0, 1]; empty where no class was held out."""
    gap: Score | None
    """Recall@1 at the test's own best epoch less that at the epoch the classes held out select, paired by seed."""
    epochs: tuple[int, ...]
    """The epochs whose weights were evaluated, one per model and seed."""

    @property
    def label(self) -> str:
        """The objective, with its variant in brackets."""
        return f"{self.objective} ({self.variant})" if self.variant else self.objective


class Unfinished(NamedTuple):
    """Cells without scores that share an objective, a status and a reason."""

    objective: str
    label: str
    """The objective, with its variant in brackets."""
    seeds: tuple[int, ...]
    status: str
    reason: str


class Board(NamedTuple):
    """What is comparable: same test images, same trunk, same protocol."""

    dataset: str
    backbone: str
    metrics: tuple[str, ...]
    """Names of the columns that hold a value, Recall@K first."""
    lines: tuple[Line, ...]
    """By Recall@1, best first."""
    chance: Mapping[str, float]
    """Metric to what a random embedding scores, in [0, 1], where it was stored."""
    queries: str
    recipe: str
    """The board's most common recipe, such as "epochs=10, dim=128"."""
    unfinished: tuple[Unfinished, ...]
    notes: tuple[str, ...]
    overlap: str | None
    """What the trunk's pretraining has seen of the test set, beginning with a grade; None for random weights."""
    near_duplicates: int
    """Test images with a near-duplicate among the training images, as far as these were compared."""
    jobs: Mapping[str, Job]
    """By key, the jobs of its rows, finished or not, as far as they are known."""
    measured: Mapping[str, Measured]
    """By key, what was measured of the finished ones."""


def boards(rows: pd.DataFrame, jobs: Sequence[Job] = ()) -> list[Board]:
    """Boards of `rows` (one row per job, as `bench.load` gives them), by dataset and backbone.

    Averaged in one line is what shares a cell, and nothing else: neither other parameters, recipes or protocols (the
    newest counts), nor other versions of the data. Labels and kinds are those of `jobs`, else the stored ones.
    """
    # Where nothing finished, columns that only a finished row fills may be missing altogether.
    whole = rows.reindex(columns=list(dict.fromkeys((*rows.columns, *known()))))
    whole = whole.assign(recipe=whole["recipe"].map({text: _complete(text) for text in rows["recipe"].unique()}))
    found, newest, metrics = identify(whole, jobs), int(rows["protocol"].max()), scores(list(rows.columns))
    groups = found.rows.groupby(["dataset", "backbone", "place"], sort=True)
    return [_board(cells, found.jobs, newest, metrics) for _, cells in groups]


def _complete(recipe: str) -> str:
    """The recipe (JSON) with the fields that are newer than its row."""
    return json.dumps(complete(json.loads(recipe)))


def _board(cells: pd.DataFrame, jobs: Mapping[str, Job], newest: int, metrics: Sequence[str]) -> Board:
    current = cells[cells["protocol"] == newest]
    most = usual(current["recipe"])
    latest = _latest(current.assign(variant=_variants(current, jobs, most)))
    done = latest[latest["status"] == "done"]
    present = tuple(name for name in metrics if done[name].notna().any())
    return Board(
        dataset=str(cells["dataset"].iloc[0]),
        backbone=str(cells["backbone"].iloc[0]),
        metrics=present,
        lines=tuple(sorted(_lines(latest, done, present), key=_standing)),
        chance={name: float(done[f"{name}_chance"].mean()) for name in present if _has(done, f"{name}_chance")},
        queries=_queries(done),
        recipe=", ".join(f"{name}={value}" for name, value in most.items() if UNUSED.get(name) != value),
        unfinished=tuple(_unfinished(latest[latest["status"] != "done"])),
        overlap=next(iter(sorted(latest["overlap"].dropna().unique())), None),
        near_duplicates=int(latest["near_duplicates"].max()) if latest["near_duplicates"].notna().any() else 0,
        notes=tuple(_notes(len(cells) - len(current), newest, len(current) - len(latest))),
        jobs={key: jobs[key] for key in latest["key"] if key in jobs},
        measured=measured(done),
    )


def _variants(cells: pd.DataFrame, jobs: Mapping[str, Job], most: Mapping[str, str]) -> "pd.Series[str]":
    """In what each row's recipe differs from the usual one; and where that leaves two cells alike, in what they do."""
    recipes = {text: difference(flat(json.loads(text)), most) for text in cells["recipe"].unique()}
    found = cells.assign(variant=cells["recipe"].map(recipes)).drop_duplicates("cell").set_index("cell")
    variants = found["variant"].to_dict()
    for _, alike in found.groupby(["objective", "variant"]):
        if len(alike) > 1:
            keys = zip(alike.index, alike["key"], strict=True)
            apart = told_apart({cell: settings(jobs[key]) if key in jobs else {} for cell, key in keys})
            variants |= {cell: ", ".join(filter(None, (variants[cell], text))) for cell, text in apart.items()}
    return cells["cell"].map(variants).astype(str)


def _latest(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and seed: finished before unfinished, then the one started last."""
    order = ["finished", "started", "key"]
    ordered = cells.assign(finished=cells["status"] == "done").sort_values(order, na_position="first")
    return ordered.drop_duplicates(["cell", "seed"], keep="last")


def _lines(latest: pd.DataFrame, done: pd.DataFrame, metrics: Sequence[str]) -> list[Line]:
    """One line per cell that finished a seed."""
    asked = latest.groupby("cell")["seed"].count().to_dict()
    ordered = done.sort_values("seed")
    # Plain arrays: a data frame per line would cost more time than everything else together.
    columns = {name: ordered[name].to_numpy() for name in (*OF_A_LINE, *metrics, *LOOKS)}
    return [
        _line(str(cell), {name: values[rows] for name, values in columns.items()}, asked[cell], metrics)
        for cell, rows in ordered.groupby("cell").indices.items()
    ]


def _line(cell: str, cells: Mapping[str, NDArray[Any]], asked: int, metrics: Sequence[str]) -> Line:
    values = {metric: cells[metric].astype(float) for metric in metrics}
    first = values.get(FIRST, np.full(len(cells["key"]), np.nan))
    dim, trained, whole = cells["embedding_dim"][0], cells["seconds_train"], cells["seconds"]
    return Line(
        cell=cell,
        objective=str(cells["objective"][0]),
        variant=str(cells["variant"][0]),
        kind=str(cells["kind"][0]),
        members=tuple(map(str, cells["members"][0])),
        scores={
            metric: _score(found[~np.isnan(found)]) for metric, found in values.items() if not np.isnan(found).all()
        },
        recalls={
            int(seed): float(value) for seed, value in zip(cells["seed"], first, strict=True) if not np.isnan(value)
        },
        keys=tuple(cells["key"]),
        done=len(cells["key"]),
        seeds=asked,
        dim=None if pd.isna(dim) else int(dim),
        seconds=float(np.mean((whole if pd.isna(trained).any() else trained).astype(float))),
        recipe=flat(json.loads(cells["recipe"][0])),
        looks={name: _score(found) for name in LOOKS if len(found := _known(cells[name]))},
        gap=_score(found) if len(found := _known(cells[LOOKS[-1]] - cells[LOOKS[1]])) else None,
        epochs=tuple(int(epoch) for epochs in cells["epoch"] if np.ndim(epochs) for epoch in epochs),
    )


def _known(values: NDArray[Any]) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = values.astype(float)
    return numbers[~np.isnan(numbers)]


def _score(values: NDArray[np.float64]) -> Score:
    return Score(*interval(values), seeds=len(values))


def _standing(line: Line) -> tuple[float, str]:
    return (-line.scores[FIRST].mean if FIRST in line.scores else float("inf"), line.label)


def _has(done: pd.DataFrame, column: str) -> bool:
    return column in done and bool(done[column].notna().any())


def _queries(done: pd.DataFrame) -> str:
    """How many queries there are, and how many of them are left out of the means."""
    counts = sorted({int(count) for count in done["queries"].dropna()})
    without = sorted({int(count) for count in done["queries_without_hit"].dropna() if count})
    text = " or ".join(f"{count:,}" for count in counts)
    left_out = f"; {' or '.join(f'{count:,}' for count in without)} have no match to find and are left out"
    return f"{text} queries{left_out if without else ''}" if counts else ""


def _unfinished(cells: pd.DataFrame) -> list[Unfinished]:
    reasons = cells["reason"].fillna("No reason was stored.").astype(str)
    names = (cells["objective"] + " (" + cells["variant"] + ")").where(cells["variant"] != "", cells["objective"])
    groups = cells.assign(label=names, reason=reasons).groupby(["objective", "label", "status", "reason"], sort=True)
    return [
        Unfinished(str(name[0]), str(name[1]), tuple(sorted(map(int, part["seed"]))), str(name[2]), str(name[3]))
        for name, part in groups
    ]


def _notes(older: int, newest: int, doubles: int) -> list[str]:
    notes = []
    if older:
        notes.append(f"{_rows(older)} left out: measured under a protocol older than {newest}, so not comparable.")
    if doubles:
        notes.append(f"{_rows(doubles)} left out: the same objective, recipe and seed was stored again later.")
    return notes


def _rows(count: int) -> str:
    return f"{count:,} row{'s are' if count > 1 else ' is'}"
