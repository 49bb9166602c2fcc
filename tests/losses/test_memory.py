"""Cross-batch memory against pytorch-metric-learning and a plain list of what went before."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from pytorch_metric_learning import losses as pml
from pytorch_metric_learning import miners
from pytorch_metric_learning.distances import LpDistance
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from bench.matrix.catalogue import entries
from losses import distribution, ensembles, pair
from losses.memory import cross_batch_memory
from losses.module import compares
from losses.pair import contrastive, multi_similarity
from losses.pairwise import References
from losses.proxy import proxy_nca
from losses.triplets import triplet
from losses.tuplet import angular, generalized_lifted_structure, lifted_structure, tuplet_margin

Batch = tuple[Tensor, Tensor]


class OnUnit(nn.Module):
    """A memory of pytorch-metric-learning of rows of norm 1: its angular loss leaves negatives as they come."""

    def __init__(self, memory: nn.Module) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.memory(F.normalize(embeddings), labels)


MEMBERS: dict[str, tuple[Loss, Callable[[], nn.Module], nn.Module | None]] = {
    "contrastive": (partial(contrastive, squared=False), pml.ContrastiveLoss, None),
    "triplet": (
        partial(triplet, margin=0.2, mining="all", squared=False),
        partial(pml.TripletMarginLoss, margin=0.2),
        None,
    ),
    "multi_similarity": (multi_similarity, pml.MultiSimilarityLoss, miners.MultiSimilarityMiner()),
    "angular": (angular, partial(pml.AngularLoss, alpha=45), None),
    "angular 60": (partial(angular, alpha=60.0), partial(pml.AngularLoss, alpha=60), None),
    "tuplet_margin": (tuplet_margin, partial(pml.TupletMarginLoss, margin=math.degrees(0.1), scale=64), None),
    "generalized_lifted_structure": (
        partial(generalized_lifted_structure, normalize=True),
        pml.GeneralizedLiftedStructureLoss,
        None,
    ),
}


class Against(nn.Module):
    def __init__(self, member: nn.Module, references: References) -> None:
        super().__init__()
        self.member, self.references = member, references

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.member(embeddings, labels, self.references)


def memory(loss: Loss, *, size: int = 60, warmup: int = 0) -> nn.Module:
    return build(lambda shape: cross_batch_memory(shape, [loss], size=size, warmup=warmup))


def batches(count: int) -> list[Batch]:
    """Of 24 images, the last of them shorter."""
    every = [batch(seed=seed) for seed in range(count)]
    return [*every[:-1], (every[-1][0][:17], every[-1][1][:17])]


def run(module: nn.Module, feed: list[Batch]) -> list[tuple[Tensor, list[Tensor]]]:
    return [value_and_gradients(module, *one) for one in feed]


def same(ours: list[tuple[Tensor, list[Tensor]]], theirs: list[tuple[Tensor, list[Tensor]]]) -> bool:
    return all(
        torch.equal(one[0], other[0]) and torch.equal(one[1][0], other[1][0])
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("size", [24, 60, 1000])
def test_memory_agrees_with_pml(name: str, size: int) -> None:
    """Before the memory is full, when it becomes so, and past the point where it wraps."""
    loss, their_loss, miner = MEMBERS[name]
    ours = memory(loss, size=size)
    theirs = OnUnit(pml.CrossBatchMemory(their_loss(), DIM, memory_size=size, miner=miner))
    for one in batches(7):
        assert_same(value_and_gradients(ours, *one), value_and_gradients(theirs, *one), 1e-9)


class LiftedAmong(nn.Module):
    """Lifted structure of pytorch-metric-learning on all rows, batch and memory, the anchors those of the batch alone.

    Its own memory gives it places in the memory for positives and places in the batch for anchors, and it takes the
    one for the other where it looks for the negatives of a positive; here all places are of one list.
    """

    def __init__(self, loss: nn.Module, memory: Batch, own: Tensor) -> None:
        super().__init__()
        self.loss, self.memory, self.own = loss, memory, own

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        size = len(labels)
        every, classes = torch.cat([embeddings, self.memory[0]]), torch.cat([labels, self.memory[1]])
        same = classes[:, None] == classes
        same[torch.arange(size), size + self.own] = False
        in_memory = torch.arange(len(classes)) >= size
        positive = (same & in_memory)[:size].nonzero().T
        negative = ((classes[:, None] != classes) & in_memory).nonzero().T
        return self.loss(every, classes, (*positive, *negative), every.detach(), classes)


@pytest.mark.parametrize("size", [24, 60, 1000])
@pytest.mark.parametrize("margin", [1.0, 12.0])
def test_lifted_structure_agrees_with_pml_among_batch_and_memory(size: int, margin: float) -> None:
    """In the first batch, where a place in one is that in the other, with the value of its own memory too.

    There a positive is the one in the batch, and passes a gradient where its negatives are looked for.
    """
    raw = LpDistance(normalize_embeddings=False)
    their_loss = pml.LiftedStructureLoss(neg_margin=margin, distance=raw)
    ours = memory(partial(lifted_structure, margin=margin), size=size)
    theirs = pml.CrossBatchMemory(their_loss, DIM, memory_size=size)
    kept = batch()[0][:0], batch()[1][:0]
    for number, (embeddings, labels) in enumerate(batches(7)):
        kept = torch.cat([kept[0], embeddings])[-size:], torch.cat([kept[1], labels])[-size:]
        own = torch.arange(len(kept[1]))[-len(labels) :]
        found = value_and_gradients(ours, embeddings, labels)
        assert found[0] > 0
        assert_same(found, value_and_gradients(LiftedAmong(their_loss, kept, own), embeddings, labels), 1e-9)
        if not number:
            torch.testing.assert_close(found[0], theirs(embeddings, labels))


@pytest.mark.parametrize("name", [*pair.__all__, *distribution.__all__, "triplet", "angular", "lifted_structure"])
def test_memory_holds_the_last_images(name: str) -> None:
    loss, kept = entries("losses")[name].function(), batch(seed=9)
    kept = kept[0][:0], kept[1][:0]
    module, alone = memory(loss, size=40), build(loss)
    for embeddings, labels in batches(4):
        kept = torch.cat([kept[0], embeddings])[-40:], torch.cat([kept[1], labels])[-40:]
        own = torch.arange(len(kept[1]))[-len(labels) :]
        expected = value_and_gradients(Against(alone, References(*kept, own)), embeddings, labels)
        assert_same(value_and_gradients(module, embeddings, labels), expected, 1e-9)


@pytest.mark.parametrize("name", entries("losses"))
def test_every_loss_works_with_a_memory_or_is_refused(name: str) -> None:
    """A memory of the batch alone, as the first one is, does not change the value, unless the loss draws at random."""
    loss = entries("losses")[name].function()
    alone = build(loss)
    if compares(alone):
        value, (expected, again) = memory(loss)(*batch()), (alone(*batch()) for _ in range(2))
        assert value.isfinite()
        if expected == again:
            torch.testing.assert_close(value, expected)
    else:
        with pytest.raises(ValueError, match="compares images with others"):
            memory(loss)


def test_a_single_image_is_not_compared_with_its_copy() -> None:
    module = memory(contrastive)
    embeddings, labels = batch()
    assert not module(embeddings[:1], labels[:1])
    assert module(embeddings[:1], labels[:1]).item() == pytest.approx(0, abs=1e-12)
    assert module(embeddings[1:2], labels[:1]) > 0


def test_state_survives_saving(tmp_path) -> None:
    first, second = memory(contrastive, warmup=1), memory(contrastive, warmup=1)
    run(first, batches(4))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert same(run(second, batches(2)), run(first, batches(2)))


def test_evaluation_neither_uses_nor_changes_the_memory() -> None:
    disturbed, left_alone = memory(contrastive, size=30), memory(contrastive, size=30)
    run(disturbed, batches(3)), run(left_alone, batches(3))
    alone = contrastive(shape())
    large = batch(seed=5, per_class=6)
    assert same(run(disturbed.eval(), [large]), run(alone, [large]))
    assert same(run(disturbed.train(), batches(3)), run(left_alone, batches(3)))


def test_before_the_warmup_ends_the_member_sees_the_batch_alone() -> None:
    module, alone, fresh = memory(triplet, warmup=2), triplet(shape()), memory(triplet)
    assert same(run(module, batches(3)[:2]), run(alone, batches(3)[:2]))
    assert same(run(module, batches(4)), run(fresh, batches(4)))


def test_two_batches_may_share_a_backward_pass() -> None:
    module = memory(partial(triplet, normalize=False), size=30)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    (module(embeddings, labels) + module(2 * embeddings, labels)).backward()
    assert embeddings.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_value_and_gradient_have_the_type_of_the_embeddings(dtype: torch.dtype) -> None:
    module = cross_batch_memory(shape(), [contrastive], size=40)
    for seed in range(3):
        value, (gradient,) = value_and_gradients(module, *batch(seed=seed, dtype=dtype))
        assert value.dtype == (dtype if dtype != torch.bfloat16 else torch.float32)
        assert gradient.dtype == dtype
        assert gradient.isfinite().all()


@pytest.mark.parametrize("same_class", [True, False])
def test_hard_batches_stay_finite(same_class: bool) -> None:
    module = memory(triplet, size=40)
    embeddings, labels = batch()
    labels = torch.zeros_like(labels) if same_class else torch.arange(len(labels))
    for one in (embeddings, torch.zeros_like(embeddings), embeddings[:1].expand(len(labels), -1)):
        value, (gradient,) = value_and_gradients(module, one, labels)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_batch_order_does_not_matter() -> None:
    ordered, shuffled = memory(contrastive, size=48), memory(contrastive, size=48)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    for embeddings, labels in batches(6)[:5]:
        torch.testing.assert_close(shuffled(embeddings[order], labels[order]), ordered(embeddings, labels))


def test_read_as_the_member_is() -> None:
    class Halves(nn.Module):
        def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
            return embeddings.sum()

        def readout(self, embeddings: Tensor) -> Tensor:
            return embeddings[:, : DIM // 2]

    embeddings, _ = batch()
    assert torch.equal(ensembles.read(memory(lambda _: Halves()), embeddings), embeddings[:, : DIM // 2])
    assert torch.equal(ensembles.read(memory(contrastive), embeddings), F.normalize(embeddings))


def test_a_memory_is_a_member_like_any_other() -> None:
    inside = partial(cross_batch_memory, members=[contrastive], size=40)
    module = ensembles.sum(shape(), [contrastive, inside], weights=(1.0, 0.5)).double()
    module(*batch())
    embeddings, labels = batch(seed=1)
    references = References(
        *(torch.cat(both)[8:] for both in zip(batch(), batch(seed=1), strict=True)), torch.arange(16, 40)
    )
    alone = contrastive(shape())
    expected = alone(embeddings, labels) + alone(embeddings, labels, references) / 2
    torch.testing.assert_close(module(embeddings, labels), expected)


def test_the_catalogue_lists_it_as_an_ensemble() -> None:
    assert entries("ensembles")["cross_batch_memory"].citation


@pytest.mark.parametrize("members", [[], [contrastive, triplet]])
def test_other_than_one_member_is_an_error(members: list[Loss]) -> None:
    with pytest.raises(ValueError, match=f"one member, not {len(members)}"):
        cross_batch_memory(shape(), members)


@pytest.mark.parametrize(
    "member", [proxy_nca, partial(angular, anchors="first"), partial(ensembles.sum, members=[contrastive])]
)
def test_a_member_without_references_is_an_error(member: Loss) -> None:
    with pytest.raises(ValueError, match="compares images with others"):
        cross_batch_memory(shape(), [member])


def test_a_batch_larger_than_the_memory_is_an_error() -> None:
    with pytest.raises(ValueError, match="size 20 cannot hold 24 images: raise size"):
        memory(contrastive, size=CLASSES * 4 - 4)(*batch())
