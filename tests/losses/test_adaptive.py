"""The adaptive additive loss against plain loops, its relatives, and itself computed another way."""

import math

import numpy as np
import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.adaptive import adaptive_additive, adaptive_additive_loss, text_distances
from losses.class_softmax import normalized_softmax
from losses.shape import Shape

NORMALIZATIONS = ["max", "mean", "cosine", "squared"]
SCALE, BASE, MARGIN_SCALE = 20.0, 0.05, 0.3


def with_text(text: Tensor, **options: object) -> Loss:
    return lambda s: adaptive_additive(s._replace(text=text), **options)


def cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def loop_distance(texts: list[list[float]], y: int, j: int, normalization: str) -> float:
    """The distance of two classes' texts, unit vectors."""

    def plain(a: int, b: int) -> float:
        return math.dist(texts[a], texts[b])

    others = [plain(a, b) for a in range(len(texts)) for b in range(len(texts)) if a != b]
    return {
        "max": lambda: plain(y, j) / max(others),
        "mean": lambda: plain(y, j) / (sum(others) / len(others)),
        "cosine": lambda: 1 - cosine(texts[y], texts[j]),
        "squared": lambda: plain(y, j) ** 2 / 4,
    }[normalization]()


@pytest.mark.parametrize("direction", ["distant", "near"])
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_value_agrees_with_plain_loops(normalization: str, direction: str) -> None:
    torch.manual_seed(0)
    text = F.normalize(torch.randn(CLASSES, 5, dtype=torch.float64))
    settings = {"scale": SCALE, "base": BASE, "margin_scale": MARGIN_SCALE, "direction": direction}
    module = build(with_text(text, normalization=normalization, **settings))
    embeddings, labels = batch()
    (proxies,), texts = (parameter.tolist() for parameter in module.parameters()), text.tolist()
    costs = []
    for point, y in zip(embeddings.tolist(), labels.tolist(), strict=True):
        own = math.exp(SCALE * cosine(point, proxies[y]))
        others = 0.0
        for j in set(range(CLASSES)) - {y}:
            distance = loop_distance(texts, y, j, normalization)
            margin = BASE + MARGIN_SCALE * (distance if direction == "distant" else 1 - distance)
            others += math.exp(SCALE * (cosine(point, proxies[j]) + margin))
        costs.append(-math.log(own / (own + others)))
    assert module(embeddings, labels).item() == pytest.approx(np.mean(costs), rel=1e-9)
    known = text_distances(text, normalization)
    value = adaptive_additive_loss(embeddings, labels, next(module.parameters()), known[labels], **settings)
    assert value.item() == pytest.approx(np.mean(costs), rel=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_without_margins_it_is_the_normalized_softmax(seed: int) -> None:
    plain = build(lambda s: normalized_softmax(s, temperature=1 / SCALE))
    adaptive = build(lambda s: adaptive_additive(s, scale=SCALE, margin_scale=0.0))
    assert_same(value_and_gradients(adaptive, *batch(seed=seed)), value_and_gradients(plain, *batch(seed=seed)), 1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"base": 0.35, "margin_scale": 0.0},
        *({"margin_scale": 0.35, "normalization": name} for name in ["max", "mean", "cosine"]),
        {"margin_scale": 0.7, "normalization": "squared"},
        {"margin_scale": 0.7, "normalization": "squared", "direction": "near"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_with_texts_equally_far_apart_it_is_cos_face(seed: int, options: dict[str, object]) -> None:
    ours = build(with_text(torch.eye(CLASSES, 8, dtype=torch.float64), scale=SCALE, **options))
    theirs = pml.CosFaceLoss(CLASSES, DIM, margin=0.35, scale=SCALE).double()
    theirs.W.data = next(ours.parameters()).data.T.clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    expected = (value, [gradient, of_weight.T])
    assert_same(value_and_gradients(ours, *batch(seed=seed)), expected, 1e-9)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("direction", ["distant", "near"])
def test_margins_kept_and_margins_looked_up_agree(normalization: str, direction: str) -> None:
    """Vectors narrower than the number of classes are kept instead of the margins; zeros beside them change nothing."""
    torch.manual_seed(0)
    narrow = F.normalize(torch.randn(CLASSES, 3, dtype=torch.float64))
    options = {"margin_scale": 0.5, "normalization": normalization, "direction": direction}
    looked_up, kept = (build(with_text(F.pad(narrow, (0, zeros)), **options)) for zeros in (0, CLASSES))
    assert [next(module.buffers()).shape for module in (looked_up, kept)] == [(CLASSES, 3), (CLASSES, CLASSES)]
    assert_same(value_and_gradients(looked_up, *batch()), value_and_gradients(kept, *batch()), 1e-12)


@pytest.mark.parametrize("normalization", ["max", "mean"])
def test_distances_of_many_classes_are_normalised_over_all_of_them(normalization: str) -> None:
    """More classes than are looked at in one go."""
    text = F.normalize(torch.randn(1500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    apart = F.pdist(text)
    divisor = apart.max() if normalization == "max" else apart.mean()
    expected = torch.cdist(text, text, compute_mode="donot_use_mm_for_euclid_dist") / divisor
    torch.testing.assert_close(text_distances(text, normalization), expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
@pytest.mark.parametrize("width", [2, 12])
@pytest.mark.parametrize("direction", ["distant", "near"])
def test_classes_with_the_same_text_have_the_margin_of_distance_zero(
    normalization: str, width: int, direction: str
) -> None:
    text = torch.ones(CLASSES, width, dtype=torch.float64)
    same = build(with_text(text, base=0.1, margin_scale=0.2, normalization=normalization, direction=direction))
    constant = build(with_text(text, base=0.1 if direction == "distant" else 0.3, margin_scale=0.0))
    assert_same(value_and_gradients(same, *batch()), value_and_gradients(constant, *batch()), 1e-12)


def test_a_class_alone_costs_nothing() -> None:
    for normalization in NORMALIZATIONS:
        module = adaptive_additive(Shape(DIM, 1, torch.ones(1, 4)), normalization=normalization)
        assert module(torch.randn(3, DIM), torch.zeros(3, dtype=torch.long)) == 0


def test_margins_are_not_trained_and_follow_the_module() -> None:
    module = adaptive_additive(shape())
    assert [name for name, _ in module.named_parameters()] == ["proxies"]
    assert next(module.double().buffers()).dtype == torch.float64
