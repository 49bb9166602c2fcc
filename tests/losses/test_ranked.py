"""Ranked List Loss against plain loops and pytorch-metric-learning, who moves, and the two forms."""

import math
from itertools import product

import pytest
import torch
from pytorch_metric_learning import losses as pml
from support.sample_batches import assert_same, batch, loop_distance, shape, value_and_gradients
from torch import Tensor
from torch.nn import functional as F

from losses.pairwise import References
from losses.ranked import ranked_list, ranked_list_loss, ranked_lists

SETTING = {"alpha": 1.3, "margin": 0.5, "temperature": 6.0}


def loop_terms(points: Tensor, labels: Tensor, *, positive_temperature: float) -> tuple[list[float], list[float]]:
    alpha, inside = SETTING["alpha"], SETTING["alpha"] - SETTING["margin"]
    near, far = [], []
    for i in range(len(labels)):
        pulled, pushed = [], []
        for j in range(len(labels)):
            d = loop_distance(points[i], points[j], squared=False)
            if i != j and labels[i] == labels[j] and d > inside:
                pulled.append((d - inside, math.exp(positive_temperature * (d - inside))))
            elif labels[i] != labels[j] and d < alpha:
                pushed.append((alpha - d, math.exp(SETTING["temperature"] * (alpha - d))))
        for terms, kept in ((near, pulled), (far, pushed)):
            terms.append(sum(c * w for c, w in kept) / sum(w for _, w in kept) if kept else 0.0)
    return near, far


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("positive_temperature", [0.0, 4.0])
def test_terms_of_every_query_agree_with_plain_loops(seed: int, positive_temperature: float) -> None:
    embeddings, labels = batch(seed=seed)
    points = F.normalize(embeddings)
    lists = ranked_lists(points, labels, positive_temperature=positive_temperature, **SETTING)
    near, far = loop_terms(points, labels, positive_temperature=positive_temperature)
    assert lists.near.tolist() == pytest.approx(near, abs=1e-12)
    assert lists.far.tolist() == pytest.approx(far, abs=1e-12)
    loss = ranked_list_loss(embeddings, labels, balance=0.3, positive_temperature=positive_temperature, **SETTING)
    expected = [0.7 * a + 0.3 * b for a, b in zip(near, far, strict=True)]
    assert loss.item() == pytest.approx(sum(expected) / len(expected), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("temperature", [0.0, 4.0])
def test_pml_differs_by_what_it_adds_to_denominators(seed: int, temperature: float) -> None:
    """It differentiates through weights and gallery; the batch has no cross-class duplicates, which it drops."""
    setting = {**SETTING, "temperature": temperature}
    embeddings, labels = batch(seed=seed)
    theirs = pml.RankedListLoss(margin=0.5, Tn=temperature, imbalance=0.3, alpha=1.3)
    value, gradients = value_and_gradients(theirs, embeddings, labels)
    moved = embeddings.clone().requires_grad_()
    ours = ranked_list_loss(moved, labels, balance=0.3, gallery_gradient=True, weight_gradient=True, **setting)
    (gradient,) = torch.autograd.grad(ours, moved)
    assert ours.item() == pytest.approx(value.item(), rel=1e-3)
    assert ours > value
    torch.testing.assert_close(gradient, gradients[0], rtol=0, atol=1e-3 * gradients[0].abs().max().item())


@pytest.mark.parametrize("gallery_gradient", [False, True])
def test_gradient_is_that_of_constant_weights_and_of_the_query_alone(gallery_gradient: bool) -> None:
    """Against the same loss query by query, the others being copies without a gradient of their own."""
    embeddings, labels = batch()
    module = ranked_list(shape(), gallery_gradient=gallery_gradient)
    _, (ours,) = value_and_gradients(module, embeddings, labels)
    moved = embeddings.clone().requires_grad_()
    points = F.normalize(moved)
    moving = points if gallery_gradient else points.detach()
    terms = []
    for i, j in product(range(len(labels)), repeat=2):
        if i == j:
            continue
        row = torch.linalg.vector_norm(points.detach()[i] - points.detach(), dim=1)
        d = torch.linalg.vector_norm(points[i] - moving[j])
        if labels[i] == labels[j] and d > 0.8:
            others = (labels == labels[i]) & (row > 0.8) & (torch.arange(len(labels)) != i)
            terms.append(0.5 * d / others.sum())
        elif labels[i] != labels[j] and d < 1.2:
            weights = torch.exp(10 * (1.2 - row)) * ((labels != labels[i]) & (row < 1.2))
            terms.append(-0.5 * d * weights[j] / weights.sum())
    (expected,) = torch.autograd.grad(torch.stack(terms).sum() / len(labels), moved)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("balance", [0.4, 1.0, 3.0])
def test_the_first_form_adds_the_negatives_to_the_positives(balance: float) -> None:
    embeddings, labels = batch()
    lists = ranked_lists(F.normalize(embeddings), labels, **SETTING)
    ours = ranked_list(shape(), form="cvpr", balance=balance, **SETTING)(embeddings, labels)
    torch.testing.assert_close(ours, (lists.near + balance * lists.far).mean())


@pytest.mark.parametrize("form", ["tpami", "cvpr"])
def test_both_forms_weigh_positives_and_negatives_alike_by_default(form: str) -> None:
    embeddings, labels = batch()
    lists = ranked_lists(F.normalize(embeddings), labels, **SETTING)
    expected = (lists.near + lists.far).mean() * (0.5 if form == "tpami" else 1)
    torch.testing.assert_close(ranked_list(shape(), form=form, **SETTING)(embeddings, labels), expected)


def test_the_same_point_in_two_classes_is_the_hardest_negative() -> None:
    embeddings = torch.tensor([[1.0, 0, 0], [2.0, 0, 0], [1.0, 0.5, 0], [0, 0, 1.0]], dtype=torch.float64)
    lists = ranked_lists(F.normalize(embeddings), torch.arange(4), alpha=1.2, margin=0.4, temperature=0.0)
    assert lists.negatives[0].tolist() == [False, True, True, False]
    third = loop_distance(*F.normalize(embeddings)[[0, 2]], squared=False)
    assert lists.far[0].item() == pytest.approx((1.2 + 1.2 - third) / 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_endless_temperature_leaves_the_nearest_negative_alone(dtype: torch.dtype) -> None:
    embeddings, labels = batch(dtype=dtype)
    points = F.normalize(embeddings)
    lists = ranked_lists(points, labels, alpha=1.2, margin=0.4, temperature=1e6, positive_temperature=1e6)
    distance = torch.cdist(points, points)
    same = labels[:, None] == labels
    nearest = distance.masked_fill(same, torch.inf).amin(1)
    furthest = distance.masked_fill(~same, 0).amax(1)
    torch.testing.assert_close(lists.far, (1.2 - nearest).clamp(min=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lists.near, (furthest - 0.8).clamp(min=0), rtol=1e-4, atol=1e-5)


def test_references_are_the_ranked_list() -> None:
    """The batch among its own references is a batch without references; more of them change the loss."""
    embeddings, labels = batch()
    others, their_labels = batch(seed=1)
    module = ranked_list(shape())
    own = References(embeddings, labels, torch.arange(len(labels)))
    torch.testing.assert_close(module(embeddings, labels, own), module(embeddings, labels))
    more = References(torch.cat([others, embeddings]), torch.cat([their_labels, labels]), own.own + len(others))
    lists = ranked_lists(
        F.normalize(embeddings), labels, more._replace(embeddings=F.normalize(more.embeddings)), **SETTING
    )
    near, far = loop_terms(F.normalize(more.embeddings), more.labels, positive_temperature=0.0)
    assert lists.near.tolist() == pytest.approx(near[len(others) :], abs=1e-12)
    assert lists.far.tolist() == pytest.approx(far[len(others) :], abs=1e-12)


@pytest.mark.parametrize(("setting", "word"), [({"margin": 1.3}, "set margin to 1.2"), ({"balance": 1.5}, "balance")])
def test_settings_that_do_not_fit_are_named(setting: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        ranked_list(shape(), **setting)


def test_a_loss_of_nothing_keeps_a_graph() -> None:
    """Every pair is where it should be."""
    embeddings = torch.eye(4, dtype=torch.float64).repeat_interleave(2, 0)
    same = value_and_gradients(ranked_list(shape(4)), embeddings, torch.arange(8) // 2)
    assert_same(same, (torch.zeros((), dtype=torch.float64), [torch.zeros_like(embeddings)]), 0)
