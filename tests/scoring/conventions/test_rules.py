"""Each rule in which conventions differ, by an example small enough to score by hand, and how causes are found."""

import math
from typing import Any, get_args, get_type_hints

import faiss
import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.metrics import normalized_mutual_info_score
from support.sample_images import line, numbers

from bench.matrix.job import ConfigError
from bench.scoring.conventions.rescore import EmbeddedImages, causes, scorer
from bench.scoring.conventions.rules import CONVENTIONS, SENTENCES, Rules, convention

PAIRS = line("aabb", 0, 1, 10, 11)
TRIPLES = line("aaabbb", 0, 1, 2, 10, 11, 12)
DUPLICATES = line("abab", 0, 0, 4, 5)
"""No image has a neighbour of its class; the second, though, ranks itself second, behind its duplicate."""
LONE = line("aab", 0, 1, 10)
UNEVEN = line("aaaabb", 0, 1, 2, 3, 4.5, 100)
"""Only the first b fails: 5 of 6 queries, but a mean of 1 and 1/2 over the classes."""
LENGTHS = EmbeddedImages(np.array([[4, 0], [32, 4], [3, 4], [0, 8]], dtype=np.float32), numbers("aabb"))
"""By direction each image is nearest to its class; by distance the first and the third are nearest to each other."""
EQUAL = EmbeddedImages(
    np.array([[5, 0]], dtype=np.float32), numbers("a"), np.array([[3, 4], [3, -4]], dtype=np.float32), numbers("ba")
)
"""The query is as near to the a of its gallery as to the b before it."""
ABSENT = EmbeddedImages(EQUAL.points, numbers("c"), EQUAL.gallery, EQUAL.gallery_labels)
SPLIT = line("aaab", 0, 1, 100, 101)
"""However k-means starts, it finds the two left and the two right images."""


@pytest.mark.parametrize(
    ("images", "metric", "changed", "ours", "theirs"),
    [
        (DUPLICATES, "recall_at_1", {"own": "first"}, 0, 1 / 4),
        (LONE, "recall_at_1", {"lone": "miss"}, 1, 2 / 3),
        (LONE, "map_at_r", {"lone": "miss"}, 1, 2 / 3),
        (PAIRS, "map_at_r", {"r": "class"}, 1, 1 / 2),
        (TRIPLES, "map_at_r", {"r": "class"}, 1, 2 / 3),
        (TRIPLES, "map_at_r", {"depth": 1}, 1, 1 / 2),
        (line("aabaab", 0, 1, 2, 3, 4, 50), "r_precision", {"depth": 1}, 4 / 9, 3 / 6),
        (UNEVEN, "recall_at_1", {"mean": "classes"}, 5 / 6, 3 / 4),
        (LENGTHS, "recall_at_1", {"distance": "cosine"}, 1 / 2, 1),
        (EQUAL, "recall_at_1", {"ties": "favour"}, 0, 1),
        (ABSENT, "queries_left_out", {"lone": "miss"}, 1, 0),
        (SPLIT, "nmi", {"entropy": "older"}, 0.3437110184854508, 0.34559202994421134),
        (SPLIT, "ami", {"entropy": "older"}, 0.0, 0.0),
    ],
)
def test_each_rule_by_hand(
    images: EmbeddedImages, metric: str, changed: dict[str, Any], ours: float, theirs: float
) -> None:
    score = scorer(images, ks=(1,))
    assert score(Rules())[metric] == pytest.approx(ours, abs=1e-12)
    assert score(Rules()._replace(**changed))[metric] == pytest.approx(theirs, abs=1e-12)


def test_a_class_that_the_gallery_lacks_leaves_proxy_anchor_without_a_score() -> None:
    rules = CONVENTIONS["proxy-anchor"].gallery
    assert rules is not None
    assert math.isnan(scorer(ABSENT)(rules)["recall_at_1"])
    assert scorer(EQUAL)(rules)["recall_at_1"] == 1


def test_single_precision_loses_neighbours_that_share_an_offset() -> None:
    """Pairs nearer than products of 2**26 can tell, in a set large enough for faiss to take products."""
    labels = np.repeat(np.arange(1500), 2)
    points = np.full((3000, 64), 1024, dtype=np.float32)
    points[:, 0] += labels + np.tile([0, 0.25], 1500)
    images = EmbeddedImages(points, labels)
    score = scorer(images, ks=(1,), restarts=0)
    judge = AccuracyCalculator(include=("precision_at_1",), device=torch.device("cpu"))
    theirs = judge.get_accuracy(torch.from_numpy(images.points), torch.from_numpy(images.labels))["precision_at_1"]
    assert score(Rules())["recall_at_1"] == 1
    assert score(Rules(search="single"))["recall_at_1"] == pytest.approx(theirs, abs=1e-12)
    assert theirs < 1 / 2


def test_clusters_of_a_sample_are_those_of_pml() -> None:
    """Beyond 256 rows per cluster faiss looks at a sample of them, unless it is told otherwise."""
    rng = np.random.default_rng(0)
    labels = np.arange(1200) % 3
    images = EmbeddedImages(
        (rng.normal(size=(3, 4))[labels] + 2 * rng.normal(size=(1200, 4))).astype(np.float32), labels
    )
    score = scorer(images, ks=(1,))
    judge = AccuracyCalculator(include=("NMI",), device=torch.device("cpu"))
    theirs = judge.get_accuracy(torch.from_numpy(images.points), torch.from_numpy(labels))["NMI"]
    assert score(Rules(clusters="sampled"))["nmi"] == pytest.approx(theirs, abs=1e-12)
    whole = faiss.Kmeans(4, 3, niter=20, max_points_per_centroid=1200)
    whole.train(images.points)
    nmi = normalized_mutual_info_score(labels, whole.index.search(images.points, 1)[1][:, 0])
    assert score(Rules(clusters="once"))["nmi"] == pytest.approx(nmi, abs=1e-12)
    assert len({round(score(Rules(clusters=how))["nmi"], 9) for how in ("sampled", "once", "restarts")}) == 3


def test_causes_name_each_rule_with_what_it_does_alone() -> None:
    images = line("ababc", 0, 0, 4, 5, 90)
    score = scorer(images, ks=(1,), restarts=0)
    base, other = Rules(), CONVENTIONS["song"].rules._replace(own="first")
    assert [score(rules)["recall_at_1"] for rules in (base, other)] == [0, 1 / 5]
    (cause,) = causes("recall_at_1", base, other, score)
    assert cause == ("own", SENTENCES["own", "first"], 1 / 4)


def test_causes_are_the_largest_first_and_only_those_that_change_the_score() -> None:
    score = scorer(line("aabbccd", 0, 1, 1, 3, 3, 4, 90), ks=(1,), restarts=0)
    other = CONVENTIONS["revisiting"].rules
    found = causes("map_at_r", Rules(), other, score)
    effects = [abs(cause.effect) for cause in found]
    assert effects == sorted(effects, reverse=True)
    assert {cause.rule for cause in found} == {"own", "lone", "r"}
    for cause in found:
        alone = score(Rules()._replace(**{cause.rule: getattr(other, cause.rule)}))["map_at_r"]
        assert cause.effect == pytest.approx(alone - score(Rules())["map_at_r"], abs=1e-12)


def test_without_restarts_nothing_is_clustered() -> None:
    score = scorer(PAIRS, restarts=0)
    assert all(math.isnan(score(one.rules)["nmi"]) for one in CONVENTIONS.values())


def test_every_rule_has_a_sentence() -> None:
    hints = {name: get_args(hint) for name, hint in get_type_hints(Rules).items()}
    values = {(name, value) for name, given in hints.items() if name != "depth" for value in given}
    assert SENTENCES.keys() == values | {("depth", None), ("depth", 0)}


def test_a_convention_is_found_by_name() -> None:
    assert all(convention(name) is one for name, one in CONVENTIONS.items())
    assert convention("pml@12").rules == CONVENTIONS["pml"].rules._replace(depth=12)


@pytest.mark.parametrize("name", ["revisited", "pml@0", "pml@x", "", "song@3"])
def test_an_unknown_convention_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no convention"):
        convention(name)
