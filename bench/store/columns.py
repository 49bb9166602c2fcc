"""Which columns a row has: the role, the type and the meaning of each, stated once.

Scores have no entry of their own: they are recognised by the names in `bench/scoring/metrics.py`, so a new metric is a
score everywhere at once, and a column that no one here knows is none.
"""

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

import pyarrow as pa

from bench.matrix.catalogue import Entry, entries

__all__ = [
    "COLUMNS",
    "LOOKS",
    "SELECTS",
    "Column",
    "ColumnRole",
    "Distance",
    "Status",
    "documented",
    "known",
    "role",
    "scores",
    "types",
]

LOOKS = tuple(f"{side}_{name}" for side in ("validation", "test") for name in ("recall_at_1", "map_at_r"))
"""What is written down of an epoch after which a model was looked at."""

SELECTS = "validation_map_at_r"
"""What selects the epoch: it tells embeddings apart more finely than Recall@1."""

Status = Literal["done", "failed", "diverged", "skipped"]
"""What became of a job."""
Distance = Literal["euclidean", "hyperbolic"]
"""By which embeddings are compared."""
ColumnRole = Literal["identity", "outcome", "score", "beside", "selection", "cost", "provenance"]
"""`beside` belongs to a score: its spread, its best restart, its chance level."""

BESIDE = {
    "_sd": "of a score over clusters: the standard deviation over the restarts of k-means",
    "_best": "of a score over clusters: the value of the restart with the lowest inertia",
    "_chance": "what a random ranking, or randomly permuted clusters, reach",
}
"""What stands beside a score, by the end of its name."""
TEXT, WHOLE, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


class Column(NamedTuple):
    """One column, or several that share a meaning."""

    names: tuple[str, ...]
    role: ColumnRole
    type: pa.DataType
    meaning: str
    """Markdown, for results/README.md."""


COLUMNS = (
    Column(("key",), "identity", TEXT, "name of the job's folder: a readable prefix and a hash over the whole job"),
    Column(("cell",), "identity", TEXT, "the same without the seed: rows of one cell are averaged, and no others"),
    Column(
        ("job",),
        "identity",
        TEXT,
        "JSON: the job, every parameter resolved; null where the row is older than this column",
    ),
    Column(
        ("dataset", "backbone", "objective"),
        "identity",
        TEXT,
        "labels, for readers: with every parameter that is not the default",
    ),
    Column(
        ("kind",),
        "identity",
        TEXT,
        "`loss`, `ensemble` (losses in one model), `model_ensemble` (fused embeddings), `student` (taught by other "
        "jobs), `floor` (nothing is learned) or `control` (what an ensemble is held against)",
    ),
    Column(
        ("members",),
        "identity",
        pa.list_(TEXT),
        "labels of an ensemble's members; of a model ensemble one per model",
    ),
    Column(("seed",), "identity", WHOLE, "seed of initial weights, batches, augmentation and k-means"),
    Column(("recipe",), "identity", TEXT, "JSON: how it was trained and evaluated, every field"),
    Column(
        ("protocol",),
        "identity",
        WHOLE,
        "version of what the harness computes; rows of different versions are not comparable",
    ),
    Column(
        ("status",),
        "outcome",
        TEXT,
        "`done`, `failed` (runs again), `diverged` (loss or embeddings not finite), `skipped` (cannot run here; tried "
        "again)",
    ),
    Column(("reason",), "outcome", TEXT, "one sentence, where `status` is not `done`"),
    Column(
        ("queries", "queries_without_hit"),
        "outcome",
        REAL,
        "number of queries, and of those whose class has no other image; the latter are in no mean",
    ),
    Column(
        ("epoch",),
        "selection",
        pa.list_(WHOLE),
        "list: of each of the job's models the epoch whose weights were evaluated; 0 is untrained",
    ),
    Column(
        ("validation_recall_at_1", SELECTS),
        "selection",
        REAL,
        "of the training classes held out, each image against all others, at that epoch; mean over models",
    ),
    Column(
        ("recall_at_1_selected", "recall_at_1_last"),
        "selection",
        REAL,
        f"test Recall@1 at the epoch with the best `{SELECTS}`, and at the last; mean over models, each alone",
    ),
    Column(
        ("recall_at_1_oracle",),
        "selection",
        REAL,
        "the same at the test's own best epoch: an oracle, for comparison only, by which nothing is selected or ranked",
    ),
    Column(("seconds", "seconds_train", "seconds_evaluate"), "cost", REAL, "wall-clock time of the job and its parts"),
    Column(("images_per_second",), "cost", REAL, "while training"),
    Column(
        ("peak_memory_mb",),
        "cost",
        REAL,
        "MB = 10^6 bytes: of the GPU's memory, or of the whole process on the processor",
    ),
    Column(("parameters",), "cost", WHOLE, "trained and frozen numbers of model and objective together"),
    Column(("embedding_dim",), "cost", WHOLE, "width of what is compared at test time"),
    Column(
        ("distance",),
        "provenance",
        TEXT,
        "by which embeddings are compared: `euclidean`, or `hyperbolic`, of points of the ball of radius 1, of which "
        "NMI and AMI are null; null where an order is all there is, and in older rows, which are `euclidean`",
    ),
    Column(
        ("overlap",),
        "provenance",
        TEXT,
        "what is known of the images that a pretrained trunk has seen, beginning with a grade: images, classes, "
        "unknown, none known",
    ),
    Column(
        ("near_duplicates",),
        "provenance",
        WHOLE,
        "test images with a near-duplicate among the training images, by perceptual hash; null for images of one "
        "channel",
    ),
    Column(
        ("left_out",),
        "provenance",
        TEXT,
        "what the data has and was not used, counted and named: pictures that cannot be read, classes too small; null "
        "where nothing is left out",
    ),
    Column(
        ("stopping",),
        "provenance",
        TEXT,
        "rule by which this seed was added, as in `leaders, alpha 0.05, at most 10 seeds, by recall_at_1`; null where "
        "the number of seeds was chosen beforehand",
    ),
    Column(
        ("resumed",),
        "provenance",
        WHOLE,
        "how often the job was continued from a checkpoint, after it was stopped or killed; null in older rows",
    ),
    Column(("started",), "provenance", TEXT, "UTC; of a job that was continued, of its last attempt"),
    Column(("commit",), "provenance", TEXT, "of the harness"),
    Column(("dirty",), "provenance", FLAG, "whether the harness had uncommitted changes"),
    Column(("python", "torch", "timm", "pytorch_metric_learning"), "provenance", TEXT, "versions"),
    Column(("device",), "provenance", TEXT, "what trained"),
    Column(("threads",), "provenance", WHOLE, "threads of the worker"),
    Column(("dataset_sha",), "provenance", TEXT, "SHA-256 over all images, labels and class names"),
    Column(
        ("embeddings_sha", "first_hits_sha"),
        "provenance",
        TEXT,
        "SHA-256 of the test embeddings' bytes (of a model ensemble that only orders: of its order), and of the ranks "
        "of all first hits; equal ones say that a change of the program changed nothing; null in older rows",
    ),
    Column(
        ("weights_sha",),
        "provenance",
        TEXT,
        "SHA-256 of the trunk's initial weights, where they come from a file or a hub",
    ),
    Column(
        ("weights_source",),
        "provenance",
        TEXT,
        "where these come from: a package with its version and file, a local file or timm's download; null in older "
        "rows",
    ),
)
"""Every column that is no score."""


SCORES = (
    "each metric of `bench list metrics`, as in `map_at_r` and `recall_at_1`: of a ranking the mean over queries, of "
    "k-means clusters (k = number of test classes) the mean over restarts"
)
"""What the columns of scores hold."""


@cache
def types() -> Mapping[str, pa.DataType]:
    """Name -> type of every column that is no score; fixed, so that a null in the first file decides nothing."""
    return MappingProxyType({name: column.type for column in COLUMNS for name in column.names})


def role(name: str) -> ColumnRole | None:
    """What a column is for; None for one that is not the harness's."""
    if name in (stated := known()):
        return stated[name]
    if _metric(name) is not None:
        return "score"
    return "beside" if metric_of(name) is not None else None


def metric_of(name: str) -> Entry | None:
    """The metric whose score a column is, or stands beside; None for any other column."""
    own, ends = _metric(name), [end for end in BESIDE if name.endswith(end)]
    return own if own or not ends else metric_of(name.removesuffix(ends[0]))


def _metric(name: str) -> Entry | None:
    return next((metric for metric in entries("metrics").values() if _pattern(metric).fullmatch(name)), None)


def documented() -> tuple[Column, ...]:
    """Every column in the order of results/README.md: METRIC and NAME stand for the name of a score, K for a number."""
    found = [Column(("METRIC", "METRIC_K"), "score", REAL, SCORES)]
    found += [Column((f"NAME{end}",), "beside", REAL, meaning) for end, meaning in BESIDE.items()]
    return tuple(sorted((*COLUMNS, *found), key=lambda column: get_args(ColumnRole).index(column.role)))


def known() -> dict[str, ColumnRole]:
    """Name -> role of every column that is no score."""
    return {name: column.role for column in COLUMNS for name in column.names}


def scores(names: list[str]) -> tuple[str, ...]:
    """The scores among columns, in the order of `bench/scoring/metrics.py`, Recall@K by K."""
    metrics = [_pattern(metric) for metric in entries("metrics").values()]
    places = {name: [metric.fullmatch(name) is None for metric in metrics] for name in names if role(name) == "score"}
    return tuple(sorted(places, key=lambda name: (places[name].index(False), len(name), name)))


def _pattern(metric: Entry) -> re.Pattern[str]:
    """The names of a metric's columns: with a parameter k, one for every K."""
    return re.compile(metric.name + (r"_\d+" if "k" in metric.positional else ""))
