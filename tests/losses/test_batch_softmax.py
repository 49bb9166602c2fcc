"""Losses that classify over the batch against pytorch-metric-learning, plain loops and one another."""

import math

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning.distances import DotProductSimilarity, LpDistance
from support.sample_batches import Loss, assert_same, batch, shape, value_and_gradients
from torch import Tensor, nn

from losses.batch_softmax import n_pair, nca, nt_xent, sup_con

AGAINST_PML = {
    "nt_xent": (nt_xent, lambda: pml.NTXentLoss(temperature=0.1)),
    "nt_xent, cold": (lambda s: nt_xent(s, temperature=0.02), lambda: pml.NTXentLoss(temperature=0.02)),
    "sup_con": (sup_con, lambda: pml.SupConLoss(temperature=0.1)),
    "nca": (nca, lambda: pml.NCALoss(softmax_scale=1)),
    "nca, steep": (lambda s: nca(s, scale=10), lambda: pml.NCALoss(softmax_scale=10)),
    "nca, as given": (
        lambda s: nca(s, scale=0.1, normalize=False),
        lambda: pml.NCALoss(softmax_scale=0.1, distance=LpDistance(power=2, normalize_embeddings=False)),
    ),
}


class Pairs(nn.Module):
    """N-pair of pytorch-metric-learning, inner products as given, told which pairs to take."""

    def __init__(self, pairs: list[tuple[int, int]]) -> None:
        super().__init__()
        self.loss = pml.NPairsLoss(distance=DotProductSimilarity(normalize_embeddings=False))
        self.pairs = torch.tensor(pairs)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        none = torch.empty(0, dtype=torch.long)
        return self.loss(embeddings, labels, (self.pairs[:, 0], self.pairs[:, 1], none, none))


def first_pairs(labels: Tensor) -> list[tuple[int, int]]:
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(row)
    return [(each[0], each[1]) for each in rows.values() if len(each) > 1]


def with_lone_images(labels: Tensor) -> Tensor:
    """Classes of 1, 2, 4, 6 ... images."""
    labels = labels.clone()
    labels[0], labels[1] = 90, 91
    labels[(labels == 3).nonzero().flatten()[:2]] = 2
    return labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("relabel", [lambda labels: labels, with_lone_images], ids=["balanced", "unbalanced"])
@pytest.mark.parametrize("name", AGAINST_PML)
def test_losses_agree_with_pml(name: str, relabel, seed: int) -> None:
    embeddings, labels = batch(seed=seed)
    ours, theirs = AGAINST_PML[name][0](shape()), AGAINST_PML[name][1]()
    expected = value_and_gradients(theirs, embeddings, relabel(labels))
    assert_same(value_and_gradients(ours, embeddings, relabel(labels)), expected, 1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("relabel", [lambda labels: labels, with_lone_images], ids=["balanced", "unbalanced"])
def test_n_pair_agrees_with_pml_told_the_pairs(relabel, seed: int) -> None:
    embeddings, labels = batch(seed=seed)
    labels = relabel(labels)
    expected = value_and_gradients(Pairs(first_pairs(labels)), embeddings, labels)
    assert_same(value_and_gradients(n_pair(shape(), l2=0.0), embeddings, labels), expected, 1e-9)


def test_n_pair_keeps_the_squared_norms_of_its_pairs_small() -> None:
    embeddings, labels = batch()
    labels = with_lone_images(labels)
    chosen = first_pairs(labels)
    norms = [sum(x**2 for row in pair for x in embeddings[row].tolist()) for pair in chosen]
    without = n_pair(shape(), l2=0.0)(embeddings, labels).item()
    expected = without + 0.02 * sum(norms) / len(chosen)
    assert n_pair(shape(), l2=0.02)(embeddings, labels).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda s: nt_xent(s, temperature=0.2), lambda s: sup_con(s, temperature=0.2)),
        (lambda s: nt_xent(s, temperature=0.2), lambda s: nca(s, scale=2.5)),
    ],
    ids=["sup_con", "nca"],
)
def test_with_two_images_a_class_the_softmaxes_are_one(one: Loss, other: Loss) -> None:
    two = batch(per_class=2)
    assert_same(value_and_gradients(one(shape()), *two), value_and_gradients(other(shape()), *two), 1e-12)


def test_sup_con_of_one_class_is_least_where_all_are_equally_alike() -> None:
    embeddings, labels = batch()
    module, one_class = sup_con(shape()), torch.zeros_like(labels)
    even = module(embeddings[:1].expand_as(embeddings), one_class)
    assert even.item() == pytest.approx(math.log(len(labels) - 1), abs=1e-12)
    assert module(embeddings, one_class) > even


def test_nca_counts_images_whose_chance_rounds_to_zero() -> None:
    embeddings = torch.tensor([[1.0, 0], [-1, 0], [1, 0.01]], dtype=torch.float64)
    value, (gradient,) = value_and_gradients(nca(shape(2), scale=1000), embeddings, torch.tensor([0, 0, 1]))
    unit = torch.nn.functional.normalize(embeddings)
    squares = [sum((a - b) ** 2 for a, b in zip(unit[i].tolist(), unit[2].tolist(), strict=True)) for i in (0, 1)]
    expected = (1000 * (4 - squares[0]) + 1000 * (4 - squares[1]) + math.log1p(math.exp(-1000 * (4 - squares[1])))) / 2
    assert value.item() == pytest.approx(expected, rel=1e-9)
    assert gradient.any()
