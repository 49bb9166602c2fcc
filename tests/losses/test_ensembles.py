"""Ensembles: the contracts of a loss, what each adds up, and what it is compared by."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.matrix.catalogue import entries
from losses import ensembles
from losses.class_softmax import normalized_softmax
from losses.members import shares
from losses.pair import binomial_deviance, contrastive
from losses.proxy import proxy_anchor, proxy_nca
from losses.shape import Shape
from losses.triplets import triplet

DIM, CLASSES = 13, 5
SHAPE = Shape(DIM, CLASSES)
MEMBERS = [triplet, proxy_nca, normalized_softmax]

WIDE = Shape(120, CLASSES)
KINDS = list(entries("ensembles"))
OF_MANY = [name for name in KINDS if name != "cross_batch_memory"]
"""Kinds of ensembles that take more than one member."""

EVERY = [getattr(ensembles, name) for name in ensembles.__all__]
Ensemble = Callable[..., nn.Module]


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(CLASSES).repeat(4)
    return torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64).to(dtype), labels


def build(make: Callable[[Shape], nn.Module], shape: Shape = SHAPE) -> nn.Module:
    torch.manual_seed(5)
    return make(shape)


@pytest.mark.parametrize("ensemble", EVERY, ids=ensembles.__all__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_ensemble_is_a_finite_scalar_and_its_gradient_reaches_everything(
    ensemble: Ensemble, dtype: torch.dtype
) -> None:
    module = build(lambda shape: ensemble(shape, MEMBERS)).to(dtype)
    embeddings, labels = batch(dtype)
    embeddings.requires_grad_()
    value = module(embeddings, labels)
    value.backward()
    gradients = [embeddings.grad, *(parameter.grad for parameter in module.parameters())]
    assert (value.shape, value.dtype) == ((), dtype)
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("ensemble", EVERY, ids=ensembles.__all__)
def test_batch_order_does_not_matter(ensemble: Ensemble) -> None:
    module = build(lambda shape: ensemble(shape, MEMBERS)).double()
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module(embeddings[order], labels[order]), module(embeddings, labels))


@pytest.mark.parametrize("ensemble", EVERY, ids=ensembles.__all__)
def test_readout_has_one_unit_vector_a_row(ensemble: Ensemble) -> None:
    embeddings, _ = batch()
    read = ensembles.read(build(lambda shape: ensemble(shape, MEMBERS)), embeddings)
    assert len(read) == len(embeddings)
    torch.testing.assert_close(read.norm(dim=1), torch.ones(len(read), dtype=read.dtype))


@pytest.mark.parametrize("ensemble", EVERY, ids=ensembles.__all__)
def test_docstring_labels_the_ensemble(ensemble: Ensemble) -> None:
    assert ensemble.__doc__
    assert ensemble.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("ensemble", [ensembles.sum, ensembles.slices])
@pytest.mark.parametrize("weights", [(1.0, 2.0), (1.0,) * 4, (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0), (0, 0, 0)])
def test_weights_that_do_not_fit_are_named(ensemble: Ensemble, weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="weight"):
        ensemble(SHAPE, MEMBERS, weights=weights)


@pytest.mark.parametrize("ensemble", [ensembles.sum, ensembles.slices])
def test_no_members_is_an_error(ensemble: Ensemble) -> None:
    with pytest.raises(ValueError, match="name one"):
        ensemble(SHAPE, [])


def test_sum_adds_weighted_members() -> None:
    weights = (0.5, 2.0, 0.25)
    module = build(lambda shape: ensembles.sum(shape, MEMBERS, weights=weights)).double()
    expected = sum(w * member(*batch()) for w, member in zip(weights, module.members, strict=True))
    torch.testing.assert_close(module(*batch()), expected)


def trained(make: Callable[[Shape], nn.Module]) -> tuple[list[float], Tensor]:
    """Losses and last readout of twelve steps of a linear embedding."""
    torch.manual_seed(11)
    inputs, labels = torch.randn(20, 6), torch.arange(CLASSES).repeat(4)
    head = nn.Linear(6, DIM)
    objective = build(make)
    optimizer = torch.optim.AdamW([*head.parameters(), *objective.parameters()], lr=0.01)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = objective(head(inputs), labels)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    return values, ensembles.read(objective, head(inputs)).detach()


@pytest.mark.parametrize("alone", [triplet, proxy_anchor, normalized_softmax])
@pytest.mark.parametrize("place", [0, 1])
def test_a_member_of_weight_one_trains_as_if_alone(alone: Callable[[Shape], nn.Module], place: int) -> None:
    members = [proxy_nca, proxy_nca]
    members[place] = alone
    weights = (1.0, 0.0) if place == 0 else (0.0, 1.0)
    values, readout = trained(lambda shape: ensembles.sum(shape, members, weights=weights))
    expected, alone_readout = trained(alone)
    assert values == expected
    assert torch.equal(readout, alone_readout)


class Broken(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.sum() * torch.nan + labels.sum()


def test_a_member_of_weight_zero_cannot_spoil_the_sum() -> None:
    module = ensembles.sum(SHAPE, [lambda _: Broken(), contrastive], weights=(0.0, 1.0))
    assert module(*batch()).isfinite()


@pytest.mark.parametrize("dim", [3, 13, 14])
def test_slices_are_as_even_as_they_go_and_each_trains_its_own(dim: int) -> None:
    shapes: list[Shape] = []

    def spy(shape: Shape) -> nn.Module:
        shapes.append(shape)
        return proxy_anchor(shape)

    text = torch.eye(CLASSES)
    module = ensembles.slices(Shape(dim, CLASSES, text), [spy, spy, spy])
    widths = [shape.dim for shape in shapes]
    assert sum(widths) == dim
    assert max(widths) - min(widths) <= 1
    assert all(shape.text is text for shape in shapes)
    embeddings = torch.randn(8, dim, requires_grad=True)
    module.members[0](embeddings[:, : widths[0]], torch.arange(8) % CLASSES).backward()
    assert embeddings.grad is not None
    assert not embeddings.grad[:, widths[0] :].any()


def test_slices_add_the_members_on_their_slices() -> None:
    module = build(lambda shape: ensembles.slices(shape, [contrastive, proxy_nca], weights=(2.0, 0.5))).double()
    embeddings, labels = batch()
    first, second = module.members
    expected = 2 * first(embeddings[:, :7], labels) + 0.5 * second(embeddings[:, 7:], labels)
    torch.testing.assert_close(module(embeddings, labels), expected)


def test_slices_read_each_slice_normalised_and_all_alike() -> None:
    embeddings, _ = batch()
    readout = ensembles.read(ensembles.slices(SHAPE, [contrastive, triplet]), embeddings)
    expected = torch.cat([F.normalize(embeddings[:, :7]), F.normalize(embeddings[:, 7:])], 1) / 2**0.5
    torch.testing.assert_close(readout, expected)


def test_slices_read_raw_keep_their_norms() -> None:
    embeddings, labels = batch()
    embeddings[:, :7] *= 5
    inner = partial(ensembles.slices, members=[contrastive, triplet])
    raw = ensembles.slices(SHAPE, [inner, triplet], readout="raw")
    torch.testing.assert_close(ensembles.read(raw, embeddings), embeddings / embeddings.norm(dim=1, keepdim=True))
    by_member = ensembles.slices(SHAPE, [inner, triplet])
    assert (ensembles.read(by_member, embeddings) - ensembles.read(raw, embeddings)).abs().max() > 0.05
    torch.testing.assert_close(raw(embeddings, labels), by_member(embeddings, labels))


def test_slices_inside_slices_are_read_by_their_own_readout() -> None:
    inner = partial(ensembles.slices, members=[contrastive, triplet])
    embeddings, labels = batch()
    module = ensembles.slices(SHAPE, [inner, contrastive])
    outer = embeddings[:, :7], embeddings[:, 7:]
    nested = torch.cat([F.normalize(outer[0][:, :4]), F.normalize(outer[0][:, 4:])], 1) / 2**0.5
    expected = torch.cat([nested, F.normalize(outer[1])], 1) / 2**0.5
    torch.testing.assert_close(ensembles.read(module, embeddings), expected)
    assert module(embeddings, labels).isfinite()


def test_a_sum_of_one_member_is_read_as_the_member() -> None:
    inner = partial(ensembles.slices, members=[contrastive, triplet])
    embeddings, _ = batch()
    alone = ensembles.read(inner(SHAPE), embeddings)
    assert torch.equal(ensembles.read(ensembles.sum(SHAPE, [inner, triplet], weights=(1, 0)), embeddings), alone)
    both = ensembles.read(ensembles.sum(SHAPE, [inner, triplet]), embeddings)
    torch.testing.assert_close(both, F.normalize(embeddings))


def test_too_few_dimensions_are_named() -> None:
    with pytest.raises(ValueError, match="2 dimensions does not divide into 3 slices"):
        ensembles.slices(Shape(2, CLASSES), MEMBERS)


def of(kind: str, members: Sequence[Callable[[Shape], nn.Module]]) -> Callable[[Shape], nn.Module]:
    """An ensemble of that kind; a memory takes the first member alone."""
    ensemble = entries("ensembles")[kind].function()
    return partial(ensemble, members=members[:1] if kind == "cross_batch_memory" else members)


def width(kind: str, dim: int, first: int, rest: int) -> int:
    """Of the readout of an embedding whose members read it, or their parts of it, as `first` and `rest` numbers."""
    if kind == "compressed_heads":
        return dim // 2 if rest else dim
    if kind == "self_distillation":
        return first if rest == dim else dim
    return first + rest if kind in ("slices", "diverse_heads") or not rest else dim


def trains(make: Callable[[Shape], nn.Module], readout: int) -> list[tuple[int, ...]]:
    """Two batches of an ensemble in which all is well: where its members stand."""
    module = build(make, WIDE).double()
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        embeddings = torch.randn(20, WIDE.dim, generator=generator, dtype=torch.float64, requires_grad=True)
        module.zero_grad()
        value = module(embeddings, torch.arange(CLASSES).repeat(4))
        value.backward()
        assert value.isfinite()
        for name, tensor in (("embeddings", embeddings), *module.named_parameters()):
            assert tensor.grad is not None, name
            assert tensor.grad.isfinite().all(), name
            # What shifts the compressed embedding as a whole moves no distance.
            assert tensor.grad.any() or name.endswith("compressor.2.bias"), name
    read = ensembles.read(module, embeddings)
    assert read.shape == (20, readout)
    assert read.isfinite().all()
    found = shares(module)
    assert all(math.isfinite(share.value) for share in found)
    assert all(share.weight is None or share.weight > 0 for share in found)
    return [share.path for share in found]


@pytest.mark.parametrize("kind", OF_MANY)
@pytest.mark.parametrize("inside", KINDS)
def test_every_ensemble_trains_inside_every_other(kind: str, inside: str) -> None:
    inner = of(inside, [contrastive, proxy_nca])
    dim = 60 if kind in ("slices", "diverse_heads", "compressed_heads") else 120
    first = dim if inside == "cross_batch_memory" else width(inside, dim, dim // 2, dim // 2)
    leaves = [(0, 0)] if inside == "cross_batch_memory" else [(0, 0), (0, 1)]
    assert trains(of(kind, [inner, normalized_softmax]), width(kind, 120, first, dim)) == [(0,), *leaves, (1,)]


@pytest.mark.parametrize("inside", KINDS)
def test_no_ensemble_can_be_given_a_memory(inside: str) -> None:
    with pytest.raises(ValueError, match="compares images with others"):
        of("cross_batch_memory", [of(inside, [contrastive])])(WIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_one_member_trains(kind: str) -> None:
    assert trains(of(kind, [contrastive]), 120) == [(0,)]


@pytest.mark.parametrize("kind", OF_MANY)
def test_the_same_loss_twice_trains(kind: str) -> None:
    assert trains(of(kind, [contrastive, partial(contrastive, negative_margin=1.5)]), width(kind, 120, 60, 60)) == [
        (0,),
        (1,),
    ]


@pytest.mark.parametrize("kind", OF_MANY)
def test_thirty_members_train(kind: str) -> None:
    members = ([contrastive, proxy_nca, binomial_deviance, normalized_softmax] * 8)[:30]
    readout = 4 if kind == "compressed_heads" else 120
    assert trains(of(kind, members), readout) == [(place,) for place in range(30)]
