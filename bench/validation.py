"""Which training classes are held out, and what they say: a model is chosen by classes that neither train nor test."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.recipe import Validation
from bench.seeds import derive

__all__ = ["LOOKS", "SELECTS", "Fold", "folds", "selection"]

LOOKS = tuple(f"{side}_{name}" for side in ("validation", "test") for name in ("recall_at_1", "map_at_r"))
"""What is written down of an epoch after which a model was looked at."""
SELECTS = "validation_map_at_r"
"""What selects the epoch: it tells embeddings apart more finely than Recall@1."""


class Fold(NamedTuple):
    """The training side of a split, parted by class into what trains and what is held out."""

    labels: NDArray[np.int64]
    """[N]: for each training image the number of its class, 0 .. len(classes) - 1; -1 where it is held out."""
    classes: NDArray[np.int64]
    """[C]: the numbers that the classes which train have in the split, in its order."""
    held_out: NDArray[np.int64]
    """[V]: rows of the images held out; none without validation."""


def folds(labels: NDArray[np.int64], validation: Validation | None, *, seed: int) -> tuple[Fold, ...]:
    """The folds of training labels [N], numbers from 0: one a model to train.

    Which classes are held out depends on the job's `seed` and on how many there are. A share holds out at least one
    class; folds hold out each class once, in numbers that differ by one at most.
    """
    classes = int(labels.max()) + 1
    order = np.random.default_rng(derive(seed, "validation")).permutation(classes)
    if validation is None:
        groups = [order[:0]]
    elif validation.share is not None:
        groups = [order[: max(1, round(validation.share * classes))]]
    else:
        groups = np.array_split(order, validation.folds or 1)
    return tuple(_fold(labels, np.sort(group), classes) for group in groups)


def _fold(labels: NDArray[np.int64], held_out: NDArray[np.int64], classes: int) -> Fold:
    kept = np.setdiff1d(np.arange(classes), held_out)
    number = np.full(classes, -1)
    number[kept] = np.arange(len(kept))
    renumbered = number[labels]
    return Fold(renumbered, kept, np.flatnonzero(renumbered < 0))


def selection(models: Sequence[tuple[Sequence[Mapping[str, float]], int]]) -> dict[str, float]:
    """What holding classes out tells of a job, from the history and the epoch that counts of each of its models.

    validation_NAME are scores of the classes held out at the epoch that counts. recall_at_1_selected, _last and _oracle
    are test scores at the epoch that these classes select, at the last, and at the test's own best, which no one may
    select. All are means over the models; nothing where no class was held out.
    """
    looks = [[epoch for epoch in history if not math.isnan(epoch.get(SELECTS, math.nan))] for history, _ in models]
    if not looks or not all(looks):
        return {}
    counts = [
        next(one for one in seen if one["epoch"] == epoch) for seen, (_, epoch) in zip(looks, models, strict=True)
    ]
    selected = [max(seen, key=lambda one: one[SELECTS]) for seen in looks]
    return {
        **{name: _mean([one[name] for one in counts]) for name in LOOKS if name.startswith("validation_")},
        "recall_at_1_selected": _mean([one["test_recall_at_1"] for one in selected]),
        "recall_at_1_last": _mean([seen[-1]["test_recall_at_1"] for seen in looks]),
        "recall_at_1_oracle": _mean([max(one["test_recall_at_1"] for one in seen) for seen in looks]),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
