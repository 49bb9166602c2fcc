"""Losses with one weight vector per class against pytorch-metric-learning and plain formulas."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from bench.matrix.catalogue import entries
from losses.class_softmax import normalized_softmax, p2s_grad, soft_triple, softmax
from losses.shape import Shape, Unsuitable


@pytest.mark.parametrize("seed", range(3))
def test_normalized_softmax_agrees_with_pml(seed: int) -> None:
    ours, theirs = build(normalized_softmax), pml.NormalizedSoftmaxLoss(CLASSES, DIM).double()
    theirs.W.data = ours.weight.data.T.clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    assert_same(value_and_gradients(ours, *batch(seed=seed)), (value, [gradient, of_weight.T]), 1e-9)


def with_targets(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    targets = torch.full_like(logits, smoothing / (CLASSES - 1))
    for row, label in enumerate(labels.tolist()):
        targets[row, label] = 1 - smoothing
    return -(targets * logits.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_softmax_is_the_cross_entropy_of_a_linear_classifier(smoothing: float) -> None:
    module = build(lambda s: softmax(s, smoothing=smoothing))
    embeddings, labels = batch()
    x, weight, bias = (t.detach().clone().requires_grad_() for t in (embeddings, *module.parameters()))
    value = with_targets(x @ weight.T + bias, labels, smoothing)
    expected = value.detach(), list(torch.autograd.grad(value, [x, weight, bias]))
    assert_same(value_and_gradients(module, embeddings, labels), expected, 1e-12)


def test_softmax_with_hidden_units_has_two_layers() -> None:
    module = build(lambda s: softmax(s, smoothing=0.15, hidden=9))
    embeddings, labels = batch()
    w1, b1, w2, b2 = module.parameters()
    expected = with_targets(F.relu(embeddings @ w1.T + b1) @ w2.T + b2, labels, 0.15)
    torch.testing.assert_close(module(embeddings, labels), expected)


def test_normalize_makes_the_length_of_an_embedding_not_matter() -> None:
    module = build(lambda s: softmax(s, normalize=True))
    embeddings, labels = batch()
    torch.testing.assert_close(module(embeddings, labels), module(embeddings * labels.add(1)[:, None], labels))


def test_smoothing_that_makes_the_own_class_no_likelier_than_others_is_refused() -> None:
    softmax(Shape(DIM, 2), smoothing=0.4)
    softmax(Shape(DIM, 1))
    with pytest.raises(Unsuitable, match="no lead"):
        softmax(Shape(DIM, 2), smoothing=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_p2s_grad_agrees_with_pml_up_to_the_number_of_classes(seed: int) -> None:
    """Theirs moves a weight along itself as well, which changes no cosine: only the rest is compared."""
    ours, theirs = build(p2s_grad), pml.P2SGradLoss(DIM, CLASSES).double()
    ours.weight.data = F.normalize(ours.weight.data)
    theirs.weight.data = ours.weight.data.T.clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    of_weight = of_weight.T - (of_weight.T * ours.weight).sum(1, keepdim=True) * ours.weight
    half = CLASSES / 2
    expected = value * half, [gradient * half, of_weight.detach() * half]
    # Their weights are of length 1 up to 1e-7 only.
    assert_same(value_and_gradients(ours, *batch(seed=seed)), expected, 1e-6)


def test_p2s_grad_has_the_gradient_of_the_paper() -> None:
    module = build(p2s_grad)
    embeddings, labels = batch()
    weights = F.normalize(module.weight.detach())
    expected = torch.zeros_like(embeddings)
    for i, x in enumerate(embeddings):
        unit = x / x.norm()
        for j, w in enumerate(weights):
            lack = unit @ w - (1 if j == labels[i] else 0)
            expected[i] += lack * (w - (unit @ w) * unit) / x.norm() / len(labels)
    _, (gradient, _) = value_and_gradients(module, embeddings, labels)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_soft_triple_agrees_with_pml(seed: int) -> None:
    ours = build(lambda s: soft_triple(s, tau=0.0, centers=3))
    theirs = pml.SoftTripleLoss(CLASSES, DIM, centers_per_class=3).double()
    theirs.fc.data = ours.centers.data.view(3, CLASSES, DIM).permute(2, 1, 0).reshape(DIM, -1).clone()
    value, (gradient, of_centers) = value_and_gradients(theirs, *batch(seed=seed))
    of_centers = of_centers.view(DIM, CLASSES, 3).permute(2, 1, 0).reshape(-1, DIM)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), (value, [gradient, of_centers]), 1e-9)


@pytest.mark.parametrize("normalize", [True, False])
def test_soft_triple_agrees_with_plain_loops(normalize: bool) -> None:
    module = build(lambda s: soft_triple(s, tau=0.7, gamma=0.3, margin=0.1, centers=4, normalize=normalize))
    embeddings, labels = batch()
    x, centers = (t.detach().clone().requires_grad_() for t in (embeddings, module.centers))
    points, w = F.normalize(x) if normalize else x, F.normalize(centers).view(4, CLASSES, DIM)
    value = torch.zeros((), dtype=torch.float64)
    for point, label in zip(points, labels.tolist(), strict=True):
        logits = []
        for c in range(CLASSES):
            cosines = [point @ w[k, c] for k in range(4)]
            parts = [(cosine / 0.3).exp() for cosine in cosines]
            similarity = sum(part * cosine for part, cosine in zip(parts, cosines, strict=True)) / sum(parts)
            logits.append(20 * (similarity - (0.1 if c == label else 0)))
        value = value + (sum(logit.exp() for logit in logits).log() - logits[label]) / len(labels)
    for c in range(CLASSES):
        for k in range(4):
            for l in range(k):
                value = value + 0.7 * (2 + 1e-5 - 2 * w[k, c] @ w[l, c]).sqrt() / (CLASSES * 4 * 3)
    expected = value.detach(), list(torch.autograd.grad(value, [x, centers]))
    assert_same(value_and_gradients(module, embeddings, labels), expected, 1e-9)


def test_soft_triple_with_one_center_and_no_margin_is_the_normalized_softmax() -> None:
    plain = value_and_gradients(build(normalized_softmax), *batch())
    assert_same(value_and_gradients(build(lambda s: soft_triple(s, centers=1, margin=0.0)), *batch()), plain, 1e-12)


def test_centers_that_meet_have_a_finite_gradient() -> None:
    module = build(soft_triple)
    module.centers.data[CLASSES : 2 * CLASSES] = module.centers.data[:CLASSES]
    _, gradients = value_and_gradients(module, *batch())
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[1].abs().max() < 1


@pytest.mark.parametrize("loss", [normalized_softmax, p2s_grad, soft_triple, softmax])
def test_embeddings_on_and_opposite_class_vectors_stay_finite(loss: Loss) -> None:
    torch.manual_seed(7)
    module = loss(shape())
    vectors = next(module.parameters()).detach()[:CLASSES]
    _, gradients = value_and_gradients(module, torch.cat([vectors, -vectors]), torch.arange(CLASSES).repeat(2))
    assert all(gradient.isfinite().all() for gradient in gradients)


DEVIATIONS = {"normal": 1 / 8, "eighth": 1 / 8, "uniform": 1 / (8 * math.sqrt(3)), "kaiming_normal": math.sqrt(2 / 300)}
"""Of the weights of 300 classes in 64 dimensions."""
STARTS = {
    "softmax": (lambda module: module.layers[0].weight, "uniform"),
    "normalized_softmax": (lambda module: module.weight, "normal"),
    "soft_triple": (lambda module: module.centers, "normal"),
    "proxy_nca": (lambda module: module.proxies, "normal"),
    "proxy_anchor": (lambda module: module.proxies, "kaiming_normal"),
}
"""Loss -> which parameter starts as asked for, and as what unless asked."""


@pytest.mark.parametrize("initial", [None, *DEVIATIONS])
@pytest.mark.parametrize("name", STARTS)
def test_class_weights_start_as_asked(name: str, initial: str | None) -> None:
    weights_of, default = STARTS[name]
    settings = {"centers": 1} if name == "soft_triple" else {}
    torch.manual_seed(0)
    module = entries("losses")[name].function()(Shape(64, 300), initial_weights=initial, **settings)
    weights = weights_of(module)
    assert isinstance(weights, nn.Parameter)
    assert weights.shape == (300, 64)
    assert weights.std().item() == pytest.approx(DEVIATIONS[initial or default], rel=0.02)
    assert (weights.abs().max() <= 1 / 8).item() == ((initial or default) == "uniform")


def test_an_eighth_does_not_depend_on_the_width() -> None:
    torch.manual_seed(0)
    weights = normalized_softmax(Shape(16, 2000), initial_weights="eighth").weight
    assert weights.std().item() == pytest.approx(1 / 8, rel=0.02)


def test_the_start_of_two_layers_is_that_of_the_last() -> None:
    torch.manual_seed(0)
    module = softmax(Shape(64, 300), hidden=256, initial_weights="kaiming_normal")
    assert module.layers[1].weight.shape == (300, 256)
    assert module.layers[1].weight.std().item() == pytest.approx(math.sqrt(2 / 300), rel=0.02)
    assert module.layers[0].weight.abs().max() <= 1 / 8


def test_an_unknown_start_is_a_sentence() -> None:
    with pytest.raises(
        ValueError, match=r"initial_weights = 'kaiming' is not possible; .* did you mean 'kaiming_normal'"
    ):
        softmax(Shape(64, 300), initial_weights="kaiming")
