"""From stored rows to boards: one board per dataset and backbone, one line per objective. Values only."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.matrix.recipe import complete
from bench.stats.intervals import interval

__all__ = ["Board", "Line", "Score", "Unfinished", "boards"]

IDENTITY = ["objective", "variant", "kind"]
FIRST = "recall_at_1"
LAST = ("map_at_r", "r_precision", "nmi", "ami")
NOT_SCORES = (
    *("key", "dataset", "backbone", "objective", "kind", "members", "seed", "recipe", "protocol", "status", "reason"),
    *(
        "queries",
        "queries_without_hit",
        "seconds",
        "seconds_train",
        "seconds_evaluate",
        "images_per_second",
        "peak_memory_mb",
        "parameters",
        "embedding_dim",
        "epoch",
        "overlap",
        "near_duplicates",
        "validation_map_at_r",
    ),
    *("started", "commit", "dirty", "python", "torch", "timm", "pytorch_metric_learning", "device", "threads"),
)
BESIDE_A_SCORE = ("_sd", "_best", "_chance", "_selected", "_last", "_oracle")
LOOKS = ("validation_recall_at_1", "recall_at_1_selected", "recall_at_1_last", "recall_at_1_oracle")


class Score(NamedTuple):
    """One metric of one line, in [0, 1]."""

    mean: float
    half_width: float
    """Of the 95 % interval over seeds; NaN for one seed."""
    seeds: int
    """How many seeds have a value."""


class Line(NamedTuple):
    """One objective under one recipe: what is averaged over seeds, and nothing else is."""

    objective: str
    variant: str
    """The recipe fields in which it differs from the board's most common recipe, such as "epochs=0"; mostly empty."""
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


def boards(rows: pd.DataFrame) -> list[Board]:
    """Boards of `rows` (one row per job, as `bench.load` gives them), by dataset and backbone.

    Never averaged in one line: different recipes, protocols (the newest counts), or versions of the data.
    """
    # Where nothing finished, columns that only a finished row fills may be missing altogether.
    whole = rows.reindex(columns=list(dict.fromkeys((*rows.columns, *NOT_SCORES, *LOOKS))))
    whole = whole.assign(recipe=whole["recipe"].map({text: _complete(text) for text in rows["recipe"].unique()}))
    told_apart = whole.assign(dataset=_datasets(rows))
    newest = int(rows["protocol"].max())
    metrics = _metrics(rows)
    groups = told_apart.groupby(["dataset", "backbone"], sort=True)
    return [_board(str(name[0]), str(name[1]), cells, newest, metrics) for name, cells in groups]


def _complete(recipe: str) -> str:
    """The recipe (JSON) with the fields that are newer than its row."""
    return json.dumps(complete(json.loads(recipe)))


def _datasets(rows: pd.DataFrame) -> "pd.Series[str]":
    """Labels of the datasets, with the hash where one label stands for several versions of the data."""
    labels = rows["dataset"].astype(str)
    shas = rows["dataset_sha"].groupby(labels)
    # A skipped or failed job may never have read the data; it belongs to the version most jobs read.
    usual = labels.map(shas.agg(lambda known: min(known.dropna().mode(), default="")))
    sha = rows["dataset_sha"].where(rows["dataset_sha"].notna(), usual)
    return labels.where(shas.transform("nunique") < 2, labels + " (data " + sha.astype(str).str[:8] + ")")


def _metrics(rows: pd.DataFrame) -> tuple[str, ...]:
    """Columns that hold scores: Recall@K by K, the usual others, then any metric added since."""
    found = [
        name
        for name in rows.columns
        if pd.api.types.is_float_dtype(rows[name])
        and name not in (*NOT_SCORES, *LOOKS)
        and not name.endswith(BESIDE_A_SCORE)
    ]
    recalls = sorted((name for name in found if name.startswith("recall_at_")), key=lambda name: (len(name), name))
    usual = [name for name in LAST if name in found]
    return (*recalls, *usual, *(name for name in found if name not in (*recalls, *usual)))


def _board(dataset: str, backbone: str, cells: pd.DataFrame, newest: int, metrics: Sequence[str]) -> Board:
    current = cells[cells["protocol"] == newest]
    recipes = current["recipe"].astype(str)
    usual = _usual(recipes)
    latest = _latest(current.assign(variant=_variants(recipes, usual)))
    done = latest[latest["status"] == "done"]
    present = tuple(name for name in metrics if done[name].notna().any())
    return Board(
        dataset=dataset,
        backbone=backbone,
        metrics=present,
        lines=tuple(sorted(_lines(latest, done, present), key=_standing)),
        chance={name: float(done[f"{name}_chance"].mean()) for name in present if _has(done, f"{name}_chance")},
        queries=_queries(done),
        recipe=", ".join(f"{name}={value}" for name, value in usual.items() if UNUSED.get(name) != value),
        unfinished=tuple(_unfinished(latest[latest["status"] != "done"])),
        overlap=next(iter(sorted(latest["overlap"].dropna().unique())), None),
        near_duplicates=int(latest["near_duplicates"].max()) if latest["near_duplicates"].notna().any() else 0,
        notes=tuple(_notes(len(cells) - len(current), newest, len(current) - len(latest))),
    )


def _usual(recipes: "pd.Series[str]") -> dict[str, str]:
    """The fields of the most common recipe (JSON); of equally common ones, the first in order of its text."""
    counts = recipes.value_counts()
    return _flat(json.loads(min(counts[counts == counts.max()].index))) if len(counts) else {}


def _variants(recipes: "pd.Series[str]", usual: Mapping[str, str]) -> "pd.Series[str]":
    """For every recipe (JSON), the fields in which it differs from `usual`, as text."""
    return recipes.map({text: _difference(_flat(json.loads(text)), usual) for text in recipes.unique()}).astype(str)


def _flat(value: Any, *, prefix: str = "") -> dict[str, str]:
    """Nested tables as {"augment.flip": "true"}."""
    if isinstance(value, dict):
        return {
            name: text for key, part in value.items() for name, text in _flat(part, prefix=f"{prefix}.{key}").items()
        }
    return {prefix.strip("."): value if isinstance(value, str) else json.dumps(value)}


UNUSED = _flat(complete({}))
"""Newer fields of the recipe at what was done without them, which no one needs to read."""


def _difference(own: Mapping[str, str], usual: Mapping[str, str]) -> str:
    names = [name for name in dict.fromkeys((*own, *usual)) if own.get(name) != usual.get(name)]
    return ", ".join(f"{name}={own.get(name, 'unset')}" for name in names)


def _latest(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per objective, variant and seed: finished before unfinished, then the one started last."""
    order = ["finished", "started", "key"]
    ordered = cells.assign(finished=cells["status"] == "done").sort_values(order, na_position="first")
    return ordered.drop_duplicates([*IDENTITY, "seed"], keep="last")


def _lines(latest: pd.DataFrame, done: pd.DataFrame, metrics: Sequence[str]) -> list[Line]:
    """One line per objective, variant and kind that finished a seed."""
    asked = latest.groupby(IDENTITY)["seed"].count().to_dict()
    ordered = done.sort_values("seed")
    names = ("seed", "key", "members", "embedding_dim", "seconds", "seconds_train", "recipe", "epoch", *metrics, *LOOKS)
    # Plain arrays: a data frame a line would cost more time than everything else together.
    columns = {name: ordered[name].to_numpy() for name in names}
    return [
        _line(name, {column: values[rows] for column, values in columns.items()}, asked[name], metrics)
        for name, rows in ordered.groupby(IDENTITY).indices.items()
    ]


def _line(name: Any, cells: Mapping[str, NDArray[Any]], asked: int, metrics: Sequence[str]) -> Line:
    objective, variant, kind = map(str, name)
    values = {metric: cells[metric].astype(float) for metric in metrics}
    first = values.get(FIRST, np.full(len(cells["key"]), np.nan))
    dim, trained, whole = cells["embedding_dim"][0], cells["seconds_train"], cells["seconds"]
    return Line(
        objective=objective,
        variant=variant,
        kind=kind,
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
        recipe=_flat(json.loads(cells["recipe"][0])),
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
