"""The learned ensembles: contracts, the weights' start, what the readout means, who learns from what."""

from collections.abc import Callable

import pytest
import torch
from support.sample_batches import CLASSES, batch, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses import learned
from losses.class_softmax import normalized_softmax
from losses.ensembles import read
from losses.learned import compressed_heads, diverse_heads, weighted
from losses.pair import contrastive
from losses.proxy import proxy_nca
from losses.shape import Shape
from losses.triplets import triplet

DIM = 16
SHAPE = Shape(DIM, CLASSES)
MEMBERS = [normalized_softmax, triplet, contrastive, proxy_nca]
EVERY = [getattr(learned, name) for name in learned.__all__]

Ensemble = Callable[..., nn.Module]

every = pytest.mark.parametrize("ensemble", EVERY, ids=learned.__all__)


def build(ensemble: Ensemble, members: list[Callable[[Shape], nn.Module]] = MEMBERS, **settings: object) -> nn.Module:
    torch.manual_seed(5)
    return ensemble(SHAPE, members, **settings).double()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_ensemble_is_a_finite_scalar_and_its_gradient_reaches_everything(
    ensemble: Ensemble, dtype: torch.dtype
) -> None:
    value, gradients = value_and_gradients(build(ensemble).to(dtype), *batch(dtype=dtype))
    assert (value.shape, value.dtype) == ((), dtype)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) >= len(gradients) - 1  # a shift moves no distance


@every
def test_batch_order_does_not_matter(ensemble: Ensemble) -> None:
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(build(ensemble)(embeddings[order], labels[order]), build(ensemble)(embeddings, labels))


@every
def test_a_member_that_is_zero_at_first_spoils_nothing(ensemble: Ensemble) -> None:
    embeddings, labels = batch()
    module = build(ensemble)
    assert triplet(SHAPE)(embeddings[:CLASSES], torch.arange(CLASSES)) == 0
    for rows, named in ((slice(CLASSES), torch.arange(CLASSES)), (slice(None), labels)):
        value, gradients = value_and_gradients(module, embeddings[rows], named)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


@every
def test_state_survives_a_checkpoint(ensemble: Ensemble) -> None:
    first, second = build(ensemble), build(ensemble)
    first(*batch(seed=1))
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second(*batch(seed=2)), first(*batch(seed=2)))


@every
def test_evaluation_leaves_the_running_means_alone(ensemble: Ensemble) -> None:
    module = build(ensemble)
    module(*batch(seed=1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.eval()
    module(*batch(seed=2))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@every
@pytest.mark.parametrize("prior", [(1.0, 1.0), (1.0, 1.0, 1.0, 0.1), (1.0, -1.0, 1.0, 1.0)])
def test_a_prior_that_does_not_fit_is_named(ensemble: Ensemble, prior: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="prior needs 4 numbers"):
        ensemble(SHAPE, MEMBERS, prior=prior)


@every
def test_no_members_is_an_error(ensemble: Ensemble) -> None:
    with pytest.raises(ValueError, match="name one"):
        ensemble(SHAPE, [])


@pytest.mark.parametrize("ensemble", [diverse_heads, compressed_heads])
@pytest.mark.parametrize("dim", [3, 15])
def test_heads_of_unequal_width_are_refused(ensemble: Ensemble, dim: int) -> None:
    with pytest.raises(ValueError, match=f"cannot cut {dim} dimensions into 4 equal heads"):
        ensemble(Shape(dim, CLASSES), MEMBERS)


def test_weights_start_in_proportion_to_the_prior() -> None:
    module = build(weighted, prior=(2.0, 1.0, 2.0, 3.0))
    torch.testing.assert_close(module.simplex.weights(), torch.tensor([2.0, 1, 2, 3]).double() / 8)
    torch.testing.assert_close(build(weighted).simplex.weights(), torch.full((4,), 0.25).double())


@every
def test_one_member_alone_is_itself(ensemble: Ensemble) -> None:
    module = build(ensemble, [contrastive])
    embeddings, labels = batch()
    heads = module.heads if ensemble is compressed_heads else module
    torch.testing.assert_close(heads(embeddings, labels), contrastive(SHAPE)(embeddings, labels))
    torch.testing.assert_close(heads.readout(embeddings), F.normalize(embeddings))


def test_weighted_counts_every_member_alike_at_first() -> None:
    """Each is scaled to the mean of all, so that with equal weights the first loss is that mean."""
    module = build(weighted)
    values = torch.stack([member(*batch()) for member in module.members])
    torch.testing.assert_close(module(*batch()), values.mean())


def test_distances_between_heads_are_the_weighted_sum_of_the_members_own() -> None:
    embeddings, _ = batch()
    module = build(diverse_heads, prior=(2.0, 1.0, 2.0, 3.0))
    apart = torch.cdist(module.readout(embeddings), module.readout(embeddings)).square()
    own = [torch.cdist(*[F.normalize(head)] * 2).square() for head in embeddings.chunk(4, 1)]
    weights = torch.tensor([2.0, 1, 2, 3]).double() / 8
    torch.testing.assert_close(apart, sum(w * d for w, d in zip(weights, own, strict=True)))


def test_diversity_only_costs_heads_that_agree() -> None:
    torch.manual_seed(0)
    head = F.normalize(torch.randn(6, 8))
    assert learned.diversity_loss(torch.stack([head, head])).item() == pytest.approx(2, abs=1e-4)
    assert learned.diversity_loss(torch.stack([head, -head])).item() == pytest.approx(0, abs=1e-4)


def test_only_the_compressor_learns_from_compression() -> None:
    module, embeddings = build(compressed_heads), batch()[0]
    _, (of_all, *_) = value_and_gradients(module, *batch())
    _, (of_heads, *_) = value_and_gradients(build(diverse_heads), *batch())
    torch.testing.assert_close(of_all, of_heads)
    assert read(module, embeddings).shape == (len(embeddings), DIM // 4)


def test_the_compressor_comes_to_keep_distances_in_proportion() -> None:
    module, (embeddings, labels) = build(compressed_heads, size=8), batch()

    def mismatch() -> Tensor:
        whole = module.heads.readout(embeddings)
        return learned.compression_loss(module.compressor(whole), whole).detach()

    start, adam = mismatch(), torch.optim.Adam(module.compressor.parameters(), lr=0.01)
    for _ in range(100):
        adam.zero_grad()
        module(embeddings, labels).backward()
        adam.step()
    assert mismatch() < start / 2
