"""What evaluate promises: its columns, its inputs, its chance levels, and what it refuses."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from support import brute_force
from support.sample_embeddings import sample

from bench.scoring import metrics
from bench.scoring.clustering import clusterings
from bench.scoring.evaluation import clustering_metrics, evaluate, score, score_order
from bench.scoring.ranking import neighbours

WITHOUT_K = set(metrics.__all__) - set(clustering_metrics()) - {"recall_at"}
CLUSTERED = {f"{name}{end}" for name in clustering_metrics() for end in ("", "_sd", "_best")}


def test_columns() -> None:
    scores = evaluate(*sample(), ks=(1, 10), restarts=3)
    ranked = {"recall_at_1", "recall_at_10", *WITHOUT_K}
    assert set(scores) == CLUSTERED | ranked | {"recall_at_1_chance", "nmi_chance", "queries", "queries_without_hit"}
    assert all(math.isfinite(value) for value in scores.values())


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
    assert unknown == CLUSTERED | {"nmi_chance"}


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
    assert set(found.values) == WITHOUT_K
    for query, row in enumerate(hits):
        values = {name: found.values[name][query] for name in ("map_at_r", "r_precision")}
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    """The ranking exactly; clusters that overlap part ways with every rounding, so of these only the score is close."""
    points, labels = sample(2000)
    on_cpu, on_cuda = (score(torch.from_numpy(points).to(device), labels) for device in ("cpu", "cuda"))
    assert np.array_equal(on_cuda.queries.first_hit, on_cpu.queries.first_hit)
    for name, value in on_cpu.scores.items():
        clustered = name.startswith(("nmi", "ami"))
        assert on_cuda.scores[name] == pytest.approx(value, abs=0.02 if clustered else 0)
