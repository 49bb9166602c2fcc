"""What evaluate is given: every kind of array and label of one meaning scores alike, and what does not fit is named."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from support.sample_embeddings import sample

from bench.scoring.evaluation import evaluate, score, score_order
from bench.scoring.ranking import neighbours


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
    for given in (
        labels.astype(float),
        labels.astype(object),
        torch.from_numpy(labels).half(),
        labels.tolist(),
        [10**30 + int(one) for one in labels],
    ):
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
    "no labels": (POINTS, None, {}, "shape"),
    "one text for all": (POINTS, "abc", {}, "one label per row"),
    "a column of labels": (POINTS, LABELS[:, None], {}, "one label per row"),
    "a sparse tensor": (torch.from_numpy(POINTS).to_sparse(), LABELS, {}, "to_dense"),
    "a label of None": (POINTS, [None, *LABELS[1:]], {}, "None in row 1:"),
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


ORDER = neighbours(torch.from_numpy(sample(20)[0]), depth=1000)
REFUSED_ORDERS: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "no matrix": (ORDER[0], sample(20)[1], {}, "matrix"),
    "nothing": (ORDER[:0], [], {}, "matrix"),
    "no indices": (ORDER.astype(float), sample(20)[1], {}, "float64"),
    "too few labels": (ORDER, sample(20)[1][1:], {}, "one label per"),
    "a matrix of labels": (ORDER, sample(20)[1], {"gallery_labels": np.zeros((20, 1))}, "one label per"),
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
