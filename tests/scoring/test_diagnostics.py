"""Diagnostics against plain loops, and what they say of spaces that one can picture."""

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sample_embeddings import sample

from bench.matrix.catalogue import entries
from bench.scoring.diagnostics import diagnose

NAMES = ("alignment", "uniformity", "distance_ratio", "rho_spectrum")


def unbalanced() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Classes of 1, 2, 5 and 22 images."""
    points, _ = sample(30)
    return points, np.repeat([3, 0, 7, 5], [1, 2, 5, 22])


def unit(points: NDArray[Any]) -> NDArray[np.float64]:
    wide = points.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def square(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(((a - b) ** 2).sum())


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return 1 - float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def by_loops(points: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    pairs = [(i, j) for i, j in product(range(len(points)), repeat=2) if i != j]
    own = [square(points[i], points[j]) for i, j in pairs if labels[i] == labels[j]]
    spread = [math.exp(-2 * square(points[i], points[j])) for i, j in pairs]
    rows = {c: [i for i in range(len(points)) if labels[i] == c] for c in set(labels.tolist())}
    within = [
        float(np.mean([cosine(points[i], points[j]) for i, j in product(some, repeat=2) if i != j]))
        for some in rows.values()
        if len(some) > 1
    ]
    means = [points[some].mean(0) for some in rows.values()]
    between = [cosine(a, b) for (i, a), (j, b) in product(enumerate(means), repeat=2) if i != j]
    roots = np.sqrt(np.linalg.eigvalsh(points.T @ points))
    share = roots / roots.sum()
    return {
        "alignment": sum(own) / len(own),
        "uniformity": math.log(sum(spread) / len(spread)),
        "distance_ratio": float(np.mean(within) / np.mean(between)),
        "rho_spectrum": sum(math.log(1 / len(share) / s) / len(share) for s in share),
    }


@pytest.mark.parametrize("given", [sample, unbalanced], ids=["balanced", "unbalanced"])
def test_diagnostics_agree_with_loops(given: Any) -> None:
    points, labels = given()
    assert diagnose(points, labels) == pytest.approx(by_loops(unit(points), labels), rel=1e-9)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    points, labels = sample()
    whole = diagnose(points, labels)
    monkeypatch.setattr("bench.scoring.diagnostics.CHUNK", 1000)
    assert diagnose(points, labels) == pytest.approx(whole, rel=1e-12)


def test_neither_length_nor_order_nor_the_kind_of_input_matters() -> None:
    points, labels = sample()
    order = np.random.default_rng(1).permutation(len(labels))
    lengths = np.random.default_rng(2).uniform(0.1, 10, size=(len(labels), 1))
    other = diagnose(torch.from_numpy((points * lengths)[order]), [f"class {label}" for label in labels[order]])
    assert other == pytest.approx(diagnose(points, labels), rel=1e-5)


def test_two_compact_classes_across_the_sphere() -> None:
    found = diagnose([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], [0, 0, 1, 1])
    assert (found["alignment"], found["distance_ratio"], found["rho_spectrum"]) == (0, 0, math.inf)
    assert found["uniformity"] == pytest.approx(math.log((1 + 2 * math.exp(-8)) / 3))


def test_directions_that_vary_alike_have_no_decay() -> None:
    found = diagnose(np.concatenate([np.eye(5), -np.eye(5)]), np.arange(10) % 5)
    assert found["rho_spectrum"] == pytest.approx(0, abs=1e-12)
    assert found["alignment"] == 4


def test_a_collapsed_space() -> None:
    found = diagnose(np.ones((6, 3)), np.arange(6) // 2)
    assert (found["alignment"], found["rho_spectrum"]) == (pytest.approx(0, abs=1e-12), math.inf)
    assert found["uniformity"] == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_computed_is_nan() -> None:
    points, _ = sample(12)
    alone = diagnose(points, np.arange(12))
    assert [name for name in NAMES if math.isnan(alone[name])] == ["alignment", "distance_ratio"]
    one_class = diagnose(points, np.zeros(12, int))
    assert [name for name in NAMES if math.isnan(one_class[name])] == ["distance_ratio"]
    one = diagnose(points[:1], [0])
    assert [name for name in NAMES if math.isnan(one[name])] == ["alignment", "uniformity", "distance_ratio"]


def test_every_diagnostic_is_listed_and_none_is_a_metric() -> None:
    assert tuple(entries("diagnostics")) == NAMES
    assert not entries("metrics").keys() & set(NAMES)
    assert all("ICML 2020, arXiv" in entry.citation for entry in entries("diagnostics").values())


def test_what_is_no_matrix_is_refused_in_a_sentence() -> None:
    with pytest.raises(ValueError, match="NaN"):
        diagnose([[1.0, math.nan], [0.0, 1.0]], [0, 1])
