"""Multi-task ensembles: contracts, the papers' rules by loops or second derivatives, who learns from what."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from support.sample_batches import CLASSES, DIM, assert_same, batch, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses import multitask
from losses.class_softmax import normalized_softmax
from losses.ensembles import read, slices
from losses.multitask import conflict_free, gradient_norm, uncertainty
from losses.pair import contrastive
from losses.proxy import proxy_anchor, proxy_nca
from losses.shape import Shape
from losses.triplets import triplet

SHAPE = Shape(DIM, CLASSES)
MEMBERS = [normalized_softmax, triplet, contrastive, proxy_nca]
EVERY = [getattr(multitask, name) for name in multitask.__all__]

Ensemble = Callable[..., nn.Module]
Member = Callable[[Shape], nn.Module]

every = pytest.mark.parametrize("ensemble", EVERY, ids=multitask.__all__)


def build(ensemble: Ensemble, members: Sequence[Member] = MEMBERS, **settings: object) -> nn.Module:
    torch.manual_seed(5)
    return ensemble(SHAPE, members, **settings).double()


def seeded(module: nn.Module, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(9)
    return value_and_gradients(module, embeddings, labels)


class Along(nn.Module):
    """A loss whose gradient is `direction` times its one parameter, whatever the embeddings."""

    def __init__(self, direction: Tensor, offset: float) -> None:
        super().__init__()
        self.register_buffer("direction", direction)
        self.scale = nn.Parameter(torch.ones(()))
        self.offset = offset

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.scale * (embeddings * self.direction).sum() + self.offset


def along(directions: Tensor, offset: float = 100.0) -> list[Member]:
    return [lambda _, d=direction: Along(d, offset) for direction in directions]


def hard_batches() -> dict[str, tuple[Tensor, Tensor]]:
    embeddings, labels = batch()
    return {
        "one class": (embeddings, torch.zeros_like(labels)),
        "single image": (embeddings[:1], labels[:1]),
        "all different": (embeddings[:CLASSES], torch.arange(CLASSES)),
        "all equal": (embeddings[:1].expand(len(labels), -1).clone(), labels),
        "zero rows": (torch.zeros_like(embeddings), labels),
    }


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_ensemble_is_a_finite_scalar_and_its_gradient_reaches_everything(
    ensemble: Ensemble, dtype: torch.dtype
) -> None:
    wide = dtype if dtype != torch.bfloat16 else torch.float32
    value, gradients = value_and_gradients(build(ensemble).to(wide), *batch(dtype=dtype))
    assert (value.shape, value.dtype, gradients[0].dtype) == ((), wide, dtype)
    assert value.isfinite()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@every
@pytest.mark.parametrize("name", hard_batches())
def test_a_hard_batch_spoils_nothing_then_or_later(ensemble: Ensemble, name: str) -> None:
    """Some members are 0 in it, and it is the first batch."""
    module = build(ensemble)
    for images in (hard_batches()[name], batch()):
        value, gradients = value_and_gradients(module, *images)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


@every
def test_batch_order_does_not_matter(ensemble: Ensemble) -> None:
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    value, (of_embeddings, *rest) = seeded(build(ensemble), embeddings, labels)
    expected = value, [of_embeddings[order], *rest]
    assert_same(seeded(build(ensemble), embeddings[order], labels[order]), expected, 1e-9)


@every
def test_state_survives_a_checkpoint(ensemble: Ensemble) -> None:
    first, second = build(ensemble), build(ensemble)
    first(*batch(seed=1))
    second.load_state_dict(first.state_dict())
    assert_same(seeded(second, *batch(seed=2)), seeded(first, *batch(seed=2)), 0)


@every
def test_evaluation_leaves_the_state_alone_and_has_the_same_value(ensemble: Ensemble) -> None:
    module = build(ensemble)
    module(*batch(seed=1))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.eval()
    value = module(*batch(seed=2))
    with torch.no_grad():
        torch.testing.assert_close(module(*batch(seed=2)), value.detach())
    with torch.inference_mode():
        torch.testing.assert_close(module(*batch(seed=2)).clone(), value.detach())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@every
def test_no_members_is_an_error(ensemble: Ensemble) -> None:
    with pytest.raises(ValueError, match="name one"):
        ensemble(SHAPE, [])


@every
@pytest.mark.parametrize("alone", [proxy_anchor, triplet])
def test_one_member_alone_is_itself(ensemble: Ensemble, alone: Member) -> None:
    assert_same(seeded(build(ensemble, [alone]), *batch()), seeded(build(lambda s, m: m[0](s), [alone]), *batch()), 0)
    embeddings, _ = batch()
    inner = build(ensemble, [lambda shape: slices(shape, [alone, triplet])])
    torch.testing.assert_close(read(inner, embeddings), read(slices(SHAPE, [alone, triplet]), embeddings))


@every
def test_the_embeddings_are_compared_by_angle(ensemble: Ensemble) -> None:
    embeddings, _ = batch()
    torch.testing.assert_close(read(build(ensemble), embeddings), F.normalize(embeddings))


@every
def test_the_same_loss_twice_pulls_as_it_does_alone(ensemble: Ensemble) -> None:
    _, (of_both, *_) = value_and_gradients(build(ensemble, [triplet, triplet]), *batch())
    _, (of_one,) = value_and_gradients(triplet(SHAPE), *batch())
    torch.testing.assert_close(of_both, of_one if ensemble is uncertainty else 2 * of_one)


@every
def test_thirty_members_train(ensemble: Ensemble) -> None:
    module, (embeddings, labels) = build(ensemble, (MEMBERS * 8)[:30]), batch()
    embeddings.requires_grad_()
    optimizer = torch.optim.AdamW([embeddings, *module.parameters()], lr=0.01)
    values = []
    for _ in range(8):
        optimizer.zero_grad()
        value = module(embeddings, labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_uncertainty_is_its_formula() -> None:
    module = build(uncertainty)
    logs = [0.5, -1.0, 0.0, 2.0]
    module.log_variances.data = torch.tensor(logs).double()
    losses = [member(*batch()).item() for member in module.members]
    expected = sum(
        loss / (2 * math.exp(s)) + math.log(math.exp(s) ** 0.5) for loss, s in zip(losses, logs, strict=True)
    )
    assert module(*batch()).item() == pytest.approx(expected)


def test_uncertainty_is_least_where_the_variance_is_the_loss() -> None:
    module, images = build(uncertainty), batch()
    adam = torch.optim.Adam([module.log_variances], lr=0.05)
    for _ in range(300):
        adam.zero_grad()
        module(*images).backward()
        adam.step()
    losses = torch.stack([member(*images) for member in module.members]).detach()
    torch.testing.assert_close(module.log_variances.detach(), losses.log(), rtol=1e-3, atol=1e-3)


def test_uncertainty_of_a_loss_that_stays_zero_is_bounded_and_comes_back() -> None:
    module = build(uncertainty, [triplet, contrastive]).float()
    sgd = torch.optim.SGD([module.log_variances], lr=10.0)
    for _ in range(100):
        sgd.zero_grad()
        module(torch.eye(CLASSES, DIM).repeat(2, 1), torch.arange(CLASSES).repeat(2)).backward()
        sgd.step()
    value, gradients = value_and_gradients(module, *batch(dtype=torch.float32))
    assert module.log_variances.min() == -10
    assert value.isfinite()
    assert (gradients[1] < 0).all()


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.5])
def test_gradient_norm_teaches_its_weights_as_second_derivatives_do(alpha: float) -> None:
    """The paper's L_grad differentiated through the norm of the gradient of w · loss, the target held."""
    module = build(gradient_norm, [proxy_anchor, contrastive], alpha=alpha)
    module.logits.data = torch.tensor([0.3, -0.8]).double()
    start = [member(*batch(seed=1)).item() for member in module.members]
    module(*batch(seed=1))

    logits, (embeddings, labels) = module.logits.detach().clone().requires_grad_(), batch(seed=2)
    embeddings.requires_grad_()
    weights = 2 * logits.exp() / logits.exp().sum()
    losses = [member(embeddings, labels) for member in module.members]
    norms = [
        torch.autograd.grad(w * l, embeddings, create_graph=True)[0].square().sum().sqrt()
        for w, l in zip(weights, losses, strict=True)
    ]
    fallen = [l.item() / l0 for l, l0 in zip(losses, start, strict=True)]
    mean = sum(norm.item() for norm in norms) / 2
    rates = [ratio / (sum(fallen) / 2) for ratio in fallen]
    gap = sum((norm - mean * rate**alpha).abs() for norm, rate in zip(norms, rates, strict=True))
    (of_logits,) = torch.autograd.grad(gap, logits, retain_graph=True)
    total = sum(w.detach() * l for w, l in zip(weights, losses, strict=True))
    others = torch.autograd.grad(total, [embeddings, *module.members.parameters()])

    value, (of_embeddings, *own) = value_and_gradients(module, *batch(seed=2))
    named = dict(zip([name for name, _ in module.named_parameters()], own, strict=True))
    assert of_logits.any()
    torch.testing.assert_close(named.pop("logits"), of_logits)
    assert_same((value, [of_embeddings, *named.values()]), (total.detach(), list(others)), 1e-9)


def test_gradient_norm_brings_the_norms_together() -> None:
    """With alpha 0 all norms are to be the same."""
    directions = torch.tensor([1.0, 3.0, 10.0]).double()[:, None, None] * torch.ones(1, 2, DIM).double()
    module = build(gradient_norm, along(directions), alpha=0.0)
    optimizer = torch.optim.AdamW([module.logits], lr=0.01)
    for _ in range(500):
        optimizer.zero_grad()
        module(torch.zeros(2, DIM).double(), torch.arange(2)).backward()
        optimizer.step()
        assert module.weights().sum().item() == pytest.approx(3)
    torch.testing.assert_close(
        module.weights() * torch.tensor([1.0, 3, 10]), torch.full((3,), 90 / 43).double(), rtol=0.05, atol=0
    )


def test_gradient_norm_pulls_more_for_a_member_that_falls_less() -> None:
    """Equal norms, the first fallen to a half and the second not at all."""
    module = build(gradient_norm, along(torch.ones(2, 2, DIM).double()))
    module.first.copy_(torch.tensor([200.0, 100.0]))
    _, gradients = value_and_gradients(module, torch.zeros(2, DIM).double(), torch.arange(2))
    of_logits = dict(zip([name for name, _ in module.named_parameters()], gradients[1:], strict=True))["logits"]
    assert of_logits[0] > 0 > of_logits[1]


def test_gradient_norm_remembers_the_first_loss_above_zero() -> None:
    module, (embeddings, labels) = build(gradient_norm), batch()
    module(embeddings[:CLASSES], torch.arange(CLASSES))
    assert module.first[1] == 0
    softmax = module.first[0].clone()
    module(embeddings, labels)
    torch.testing.assert_close(module.first[1], module.members[1](embeddings, labels))
    assert module.first[0] == softmax


def test_gradient_norm_survives_a_batch_where_every_member_is_zero() -> None:
    module = build(gradient_norm, [triplet, contrastive])
    module(*batch())
    value, gradients = value_and_gradients(module, torch.eye(CLASSES, DIM).double(), torch.arange(CLASSES))
    assert value == 0
    assert not any(gradient.any() for gradient in gradients)


def by_loops(gradients: list[Tensor], orders: list[list[int]]) -> list[Tensor]:
    """Algorithm 1 of the paper."""
    projected = [gradient.clone() for gradient in gradients]
    for i, order in enumerate(orders):
        for j in order:
            dot = float((projected[i] * gradients[j]).sum())
            if i != j and dot < 0:
                projected[i] = projected[i] - dot / float(gradients[j].square().sum()) * gradients[j]
    return projected


@pytest.mark.parametrize("members", [2, 3, 20])
@pytest.mark.parametrize("seed", range(3))
def test_conflict_free_is_the_papers_algorithm(members: int, seed: int) -> None:
    torch.manual_seed(seed)
    directions = torch.randn(members, 1, 2).double()
    images = torch.randn(1, 2).double(), torch.zeros(1).long()
    module = build(conflict_free, along(directions))
    torch.manual_seed(9)
    orders = torch.rand(members, members).argsort(1).tolist()
    value, (of_embeddings, *own) = seeded(module, *images)
    torch.testing.assert_close(of_embeddings, sum(by_loops(list(directions), orders)))
    plain = [value_and_gradients(member, *images) for member in module.members]
    torch.testing.assert_close(value, sum(v for v, _ in plain))
    torch.testing.assert_close(own, [gradients[1] for _, gradients in plain])


def test_conflict_free_draws_another_order_every_time() -> None:
    torch.manual_seed(0)
    module = build(conflict_free, along(torch.randn(6, 1, 2).double()))
    images = torch.zeros(1, 2).double(), torch.zeros(1).long()
    assert len({tuple(value_and_gradients(module, *images)[1][0].flatten().tolist()) for _ in range(10)}) > 1


def test_without_conflict_the_gradients_are_summed() -> None:
    torch.manual_seed(0)
    directions = torch.rand(5, 3, DIM).double()
    _, gradients = value_and_gradients(
        build(conflict_free, along(directions)), torch.zeros(3, DIM).double(), torch.arange(3)
    )
    torch.testing.assert_close(gradients[0], directions.sum(0))


def test_of_two_in_conflict_each_gives_way_to_the_other() -> None:
    pair = torch.tensor([[1.0, 0.0], [-1.0, 2.0]]).double()
    mix = multitask.surgery(pair @ pair.T, torch.tensor([[0, 1], [0, 1]]))
    first, second = mix @ pair
    torch.testing.assert_close(first @ pair[1], torch.zeros(()).double())
    torch.testing.assert_close(second @ pair[0], torch.zeros(()).double())


def test_of_two_that_are_opposed_nothing_is_left() -> None:
    pair = torch.tensor([[1.0, -2.0], [-2.0, 4.0]]).double()
    mix = multitask.surgery(pair @ pair.T, torch.tensor([[0, 1], [0, 1]]))
    torch.testing.assert_close(mix @ pair, torch.zeros(2, 2).double())


@pytest.mark.parametrize("ensemble", [gradient_norm, conflict_free])
def test_gradients_scale_with_the_outer_loss(ensemble: Ensemble) -> None:
    """As under a gradient scaler, or inside a weighted sum."""
    module, (embeddings, labels) = build(ensemble), batch()
    _, once = seeded(module, embeddings, labels)
    torch.manual_seed(9)
    embeddings.requires_grad_()
    thrice = torch.autograd.grad(3 * module(embeddings, labels), [embeddings, *module.parameters()])
    torch.testing.assert_close(list(thrice), [3 * gradient for gradient in once])
