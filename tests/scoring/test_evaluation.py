"""What evaluate promises: its columns, its inputs, its chance levels, and what it refuses."""

import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from support import brute_force

from bench.scoring import metrics
from bench.scoring.clustering import clusterings
from bench.scoring.evaluation import evaluate, score, score_order
from bench.scoring.ranking import neighbours


def sample(n: int = 120, classes: int = 10, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    centres = np.random.default_rng(99).normal(size=(classes, 8))
    return (centres[labels] + rng.normal(size=(n, 8))).astype(np.float32), labels


def test_columns() -> None:
    scores = evaluate(*sample(), ks=(1, 10), restarts=3)
    clustered = {f"{name}{end}" for name in ("nmi", "ami") for end in ("", "_sd", "_best")}
    ranked = {"recall_at_1", "recall_at_10", "map_at_r", "r_precision"}
    assert set(scores) == clustered | ranked | {"recall_at_1_chance", "nmi_chance", "queries", "queries_without_hit"}
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.parametrize(
    "given",
    [
        lambda x: x.astype(np.float64),
        lambda x: x.tolist(),
        torch.from_numpy,
        lambda x: torch.from_numpy(x).double().requires_grad_(),
        np.asfortranarray,
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    ],
    ids=["float64", "lists", "torch", "torch with gradient", "fortran order", "read-only"],
)
def test_any_kind_of_array_gives_the_same_scores(given: Callable[[NDArray[np.float32]], Any]) -> None:
    points, labels = sample()
    assert evaluate(given(points), labels) == evaluate(points, torch.from_numpy(labels))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_evaluated_as_the_single_precision_it_stands_for(dtype: torch.dtype) -> None:
    points, labels = torch.from_numpy(sample()[0]).to(dtype), sample()[1]
    assert evaluate(points, labels) == evaluate(points.float(), labels)


def test_labels_may_be_names() -> None:
    points, labels = sample()
    assert evaluate(points, [f"class {label:02}" for label in labels]) == evaluate(points, labels)


def test_inputs_are_left_alone() -> None:
    points, labels = sample()
    copies = points.copy(), labels.copy()
    evaluate(points, labels)
    assert np.array_equal(points, copies[0])
    assert np.array_equal(labels, copies[1])


def test_the_same_seed_repeats_and_another_changes_the_clusters_alone() -> None:
    first, again, other = (evaluate(*sample(), seed=seed) for seed in (0, 0, 2**62 + 1))
    assert first == again
    assert first["nmi"] != other["nmi"]
    assert first["map_at_r"] == other["map_at_r"]


def test_restarts_are_averaged_and_the_lowest_inertia_is_best() -> None:
    points, labels = sample()
    scores = evaluate(points, labels, restarts=4, seed=5)
    made = clusterings(points, labels, restarts=4, seed=5)
    values = [metrics.nmi(one) for one in made]
    assert scores["nmi"] == pytest.approx(np.mean(values))
    assert scores["nmi_sd"] == pytest.approx(np.std(values, ddof=1))
    assert scores["nmi_best"] == values[int(np.argmin([one.inertia for one in made]))]


def test_chance_is_what_random_embeddings_reach() -> None:
    labels = np.random.default_rng(0).choice(8, size=150, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    runs = [evaluate(np.random.default_rng(seed).normal(size=(150, 8)), labels, restarts=1) for seed in range(40)]
    reached = [run["recall_at_1"] for run in runs]
    assert np.mean(reached) == pytest.approx(runs[0]["recall_at_1_chance"], abs=4 * np.std(reached) / 40**0.5)
    clustered = [run["nmi"] for run in runs]
    assert np.mean(clustered) == pytest.approx(np.mean([run["nmi_chance"] for run in runs]), abs=0.02)


def test_gallery_and_queries_without_a_hit() -> None:
    queries, labels = sample(40)
    gallery, gallery_labels = sample(90, 9, seed=1)
    evaluation = score(queries, labels, gallery=gallery, gallery_labels=gallery_labels, ks=(1,))
    lone = labels == 9
    assert evaluation.scores["queries"] == 40
    assert evaluation.scores["queries_without_hit"] == lone.sum() == 4
    assert not evaluation.queries.first_hit[lone].any()
    hits = brute_force.relevant(queries, labels, gallery, gallery_labels)
    assert evaluation.scores["recall_at_1"] == pytest.approx(hits[~lone, 0].mean())
    assert evaluation.scores["recall_at_1_chance"] == pytest.approx(10 / 90)
    assert evaluation.scores["nmi"] == evaluate(queries, labels)["nmi"]


def test_first_hits_of_a_large_k_reach_as_deep() -> None:
    points, labels = sample()
    assert (score(points, labels, ks=(119,)).queries.first_hit > 0).all()
    assert evaluate(points, labels, ks=(1000,))["recall_at_1000"] == 1


def test_what_cannot_be_computed_is_nan() -> None:
    points, _ = sample(20)
    alone = evaluate(points, np.arange(20))
    assert all(math.isnan(alone[name]) for name in ("recall_at_1", "map_at_r", "r_precision", "recall_at_1_chance"))
    assert alone["queries_without_hit"] == alone["queries"] == 20
    one_class = evaluate(points, np.zeros(20))
    assert all(math.isnan(one_class[name]) for name in ("nmi", "nmi_sd", "nmi_best", "ami", "nmi_chance"))
    assert one_class["recall_at_1"] == 1
    assert math.isnan(evaluate(*sample(), restarts=0)["nmi"])
    assert math.isnan(evaluate(*sample(), restarts=1)["nmi_sd"])


def test_collapsed_embeddings_score_about_chance() -> None:
    _, labels = sample(2000)
    scores = evaluate(np.ones((2000, 8)), labels)
    assert scores["recall_at_1"] == pytest.approx(scores["recall_at_1_chance"], abs=0.02)


POINTS, LABELS = sample(20)
REFUSED: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "no matrix": (POINTS[0], LABELS, {}, "matrix"),
    "nothing": (POINTS[:0], LABELS[:0], {}, "something in it"),
    "too few labels": (POINTS, LABELS[1:], {}, "one label per row"),
    "NaN": (np.where(POINTS > 1, np.nan, POINTS), LABELS, {}, "NaN"),
    "infinity": (np.where(POINTS > 1, np.inf, POINTS), LABELS, {}, "infinity"),
    "gallery without labels": (POINTS, LABELS, {"gallery": POINTS}, "gallery_labels"),
    "labels without gallery": (POINTS, LABELS, {"gallery_labels": LABELS}, "gallery_labels"),
    "widths": (POINTS, LABELS, {"gallery": POINTS[:, :3], "gallery_labels": LABELS}, "8 wide, the gallery 3"),
    "K of zero": (POINTS, LABELS, {"ks": (0, 1)}, "ks"),
    "no K": (POINTS, LABELS, {"ks": ()}, "ks"),
    "restarts": (POINTS, LABELS, {"restarts": -1}, "restarts"),
    "half a restart": (POINTS, LABELS, {"restarts": 1.5}, "restarts"),
    "a seed below zero": (POINTS, LABELS, {"seed": -1}, "seed"),
    "one K, not in a list": (POINTS, LABELS, {"ks": 1}, "ks = 1 "),
    "half a K": (POINTS, LABELS, {"ks": (1.5,)}, "whole numbers"),
    "a K of text": (POINTS, LABELS, {"ks": "12"}, "whole numbers"),
    "a K that is no number": (POINTS, LABELS, {"ks": (None,)}, "whole numbers"),
    "True": (POINTS, LABELS, {"ks": (True,)}, "whole numbers"),
    "objects": (POINTS.astype(object), LABELS, {}, "array of object"),
    "complex numbers": (POINTS.astype(complex), LABELS, {}, "complex"),
    "a complex tensor": (torch.from_numpy(POINTS).to(torch.complex64), LABELS, {}, "complex"),
    "text": (POINTS.astype(str), LABELS, {}, "not of numbers"),
    "rows of several lengths": ([[1.0, 2.0], [3.0]], [0, 1], {}, "different lengths"),
    "no labels": (POINTS, None, {}, "None"),
    "a label of None": (POINTS, [None, *LABELS[1:]], {}, "None in row 1"),
    "a last label of None": (POINTS, [*map(str, LABELS[1:]), None], {}, "None in row 20"),
    "labels of two kinds": (POINTS, np.array(["a", *LABELS[1:]], object), {}, "in row 2"),
    "a label of NaN": (POINTS, [np.nan, *LABELS[1:]], {}, "NaN"),
    "labels with a fraction": (POINTS, LABELS + 0.5, {}, "fraction"),
    "an empty label": (POINTS, ["a", " ", *map(str, LABELS[2:])], {}, "empty text, first in row 2"),
    "complex labels": (POINTS, LABELS.astype(complex), {}, "complex128"),
    "dates as labels": (POINTS, LABELS.astype("datetime64[D]"), {}, "datetime64"),
    "bytes that are no text": (POINTS, [b"\xff"] * 20, {}, "UTF-8"),
    "text against numbers": (
        POINTS,
        [f"{label:03}" for label in LABELS],
        {"gallery": POINTS + 1, "gallery_labels": LABELS},
        "labels are text, gallery_labels numbers",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_inputs_that_do_not_fit_are_named(case: str) -> None:
    points, labels, options, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        evaluate(points, labels, **options)


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [40, 1000], ids=["as deep as needed", "all"])
def test_an_order_scores_as_the_embeddings_it_is_of(with_gallery: bool, depth: int) -> None:
    points, labels = sample(90)
    gallery, others = sample(70, 9, seed=1) if with_gallery else (None, None)
    expected = score(points, labels, gallery=gallery, gallery_labels=others, ks=(1, 7, 40), restarts=0)
    pool = None if gallery is None else torch.from_numpy(gallery)
    order = neighbours(torch.from_numpy(points), pool, depth=depth)
    made = score_order(order, labels, gallery_labels=others, ks=(1, 7, 40))
    np.testing.assert_equal(made.scores, expected.scores)
    assert list(made.scores) == list(expected.scores)
    assert np.array_equal(made.queries.first_hit, expected.queries.first_hit)
    unknown = {name for name, value in made.scores.items() if math.isnan(value)}
    clustered = {f"{name}{end}" for name in ("nmi", "ami") for end in ("", "_sd", "_best")}
    assert unknown == clustered | {"nmi_chance"}


def test_any_kind_of_order_and_labels_gives_the_same_scores() -> None:
    points, labels = sample(60)
    order = neighbours(torch.from_numpy(points), depth=20)
    expected = score_order(order, labels)
    names = [f"class {label:02}" for label in labels]
    for given in (order.tolist(), torch.from_numpy(order), order.astype(np.uint16), order[:, :]):
        np.testing.assert_equal(score_order(given, names).scores, expected.scores)
        np.testing.assert_equal(score_order(given, torch.from_numpy(labels)).scores, expected.scores)


def test_an_order_of_all_candidates_is_never_too_short() -> None:
    points, labels = sample(20)
    order = neighbours(torch.from_numpy(points), depth=1000)
    assert order.shape == (20, 19)
    assert score_order(order, labels, ks=(1, 1000)).scores["recall_at_1000"] == 1
    with pytest.raises(ValueError, match=r"18 deep .* 19: raise its depth"):
        score_order(order[:, :18], labels, ks=(1, 1000))
    with pytest.raises(ValueError, match=r"10 deep .* 11: raise its depth"):
        score_order(order[:, :10], np.arange(20) < 12, ks=(1,))  # R of the larger class


ORDER = neighbours(torch.from_numpy(sample(20)[0]), depth=1000)
REFUSED_ORDERS: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "no matrix": (ORDER[0], sample(20)[1], {}, "matrix"),
    "nothing": (ORDER[:0], [], {}, "matrix"),
    "no indices": (ORDER.astype(float), sample(20)[1], {}, "float64"),
    "too few labels": (ORDER, sample(20)[1][1:], {}, "one label per query"),
    "a matrix of labels": (ORDER, sample(20)[1], {"gallery_labels": np.zeros((20, 1))}, "one label per query"),
    "past the end": (ORDER + 1, sample(20)[1], {}, "from 0 to 19"),
    "below zero": (ORDER - 1, sample(20)[1], {}, "from 0 to 19"),
    "past the gallery": (ORDER, sample(20)[1], {"gallery_labels": np.zeros(19)}, "from 0 to 18"),
    "itself": (np.arange(20)[:, None], sample(20)[1], {}, "as its own candidate"),
    "twice": (ORDER[:, [0, 1, 0]], sample(20)[1], {}, "twice"),
    "K of zero": (ORDER, sample(20)[1], {"ks": (0, 1)}, "ks"),
    "no K": (ORDER, sample(20)[1], {"ks": ()}, "ks"),
}


@pytest.mark.parametrize("case", REFUSED_ORDERS)
def test_orders_that_do_not_fit_are_named(case: str) -> None:
    order, labels, options, message = REFUSED_ORDERS[case]
    with pytest.raises(ValueError, match=message):
        score_order(order, labels, **options)


MEMORY = """
import sys
from pathlib import Path
import numpy as np
from bench.scoring.evaluation import evaluate
def peak():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
n, dim = 6_000, 256
points = np.random.default_rng(0).normal(size=(n, dim)).astype(np.float32)
labels = np.arange(n) % 10
evaluate(points[:600], labels[:600], restarts=1)
before = peak()
evaluate(points, labels, restarts=1)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_memory_stays_far_below_all_pairs() -> None:
    """6,000 x 6,000 distances would be 144 MB in single precision; few large classes make the ranking deep."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 144


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_a_deep_evaluation_agrees_with_loops(kind: str) -> None:
    """More candidates than are all proposed, classes of one to eleven, copies of one vector, and a large K."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(250), rng.integers(1, 12, 250)))
    points = (rng.normal(size=(250, 16))[labels] + rng.normal(size=(len(labels), 16))).astype(kind)
    points[::7] = points[3]
    scores = evaluate(points, labels, ks=(1, 10, 100, 1000), restarts=1)
    expected = brute_force.scores(brute_force.relevant(points, labels), (1, 10, 100, 1000))
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_what_is_known_of_every_query_is_that_of_loops(with_gallery: bool) -> None:
    points, labels = sample(90)
    gallery, others = sample(7, 4, seed=1) if with_gallery else (None, None)
    labels[5] = 77  # has nothing to find
    found = score(points, labels, gallery=gallery, gallery_labels=others, ks=(1, 89)).queries
    hits, nearest = brute_force.relevant(points, labels, gallery, others), brute_force.order(points, gallery)[:, :10]
    assert np.array_equal(found.classes, labels)
    assert found.first_hit.tolist() == [1 + row.argmax() if row.any() else 0 for row in hits]
    assert np.array_equal(found.neighbours, nearest)
    pool = points if gallery is None else gallery
    expected = np.linalg.norm(points[:, None].astype(float) - pool[nearest], axis=2)
    assert found.distances is not None
    np.testing.assert_allclose(found.distances, expected, rtol=1e-7)
    assert set(found.values) == {"map_at_r", "r_precision"}
    for query, row in enumerate(hits):
        values = {name: each[query] for name, each in found.values.items()}
        whole = brute_force.values(row, ()) or dict.fromkeys(values, math.nan)
        assert values == pytest.approx(whole, nan_ok=True, abs=1e-12)


def test_every_score_is_the_mean_of_its_values() -> None:
    points, labels = sample(90)
    labels[:4] = range(50, 54)
    scores, queries = score(points, labels, ks=(1, 4))
    for name, each in queries.values.items():
        assert np.isnan(each[:4]).all()
        assert scores[name] == pytest.approx(np.nanmean(each), abs=1e-15)
    assert scores["recall_at_4"] == pytest.approx(np.isin(queries.first_hit[4:], range(1, 5)).mean())


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-15, 1e-30, 1e-250])
def test_small_values_lose_nothing(scale: float, kind: type) -> None:
    """Squares of 1e-30 are 0 in single precision, those of 1e-250 in double precision too."""
    points, labels = sample(300)
    expected = evaluate(points, labels)
    if kind == np.float64 or scale > 1e-40:
        scores = evaluate((points.astype(float) * scale).astype(kind), labels)
        assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=0.02)
        assert scores["recall_at_1"] == expected["recall_at_1"]


def test_distances_of_small_values_are_theirs() -> None:
    points, labels = sample(60)
    plain, small = (score(points * np.float32(scale), labels).queries for scale in (1, 2.0**-60))
    assert np.array_equal(plain.distances * np.float32(2.0**-60), small.distances)  # type: ignore[operator]


def test_labels_of_one_meaning_score_alike() -> None:
    points, labels = sample()
    names = [f"class {label:02}" for label in labels]
    expected = evaluate(points, labels)
    for given in (labels.astype(float), labels.astype(object), torch.from_numpy(labels).half(), labels.tolist()):
        assert evaluate(points, given) == expected
    for given in (names, np.array(names, object), [name.encode() for name in names], pd.Series(names)):
        assert evaluate(points, given) == expected


def test_a_gallery_of_the_queries_is_warned_of() -> None:
    points, labels = sample()
    for gallery in (points, points.copy(), np.concatenate([points[::-1], points + 1])):
        others = np.resize(labels, len(gallery))
        with pytest.warns(UserWarning, match="all 120 queries have an equal vector in the gallery"):
            evaluate(points, labels, gallery=gallery, gallery_labels=others)
    apart = np.concatenate([points[1:], points[1:] + 1])
    evaluate(points, labels, gallery=apart, gallery_labels=np.resize(labels, len(apart)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    """The ranking exactly; clusters that overlap part ways with every rounding, so of these only the score is close."""
    points, labels = sample(2000)
    on_cpu, on_cuda = (score(torch.from_numpy(points).to(device), labels) for device in ("cpu", "cuda"))
    assert np.array_equal(on_cuda.queries.first_hit, on_cpu.queries.first_hit)
    for name, value in on_cpu.scores.items():
        clustered = name.startswith(("nmi", "ami"))
        assert on_cuda.scores[name] == pytest.approx(value, abs=0.02 if clustered else 0)
