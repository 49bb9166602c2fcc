"""Self-distillation against plain loops over rows, and what it does in the course of training."""

from functools import partial
from typing import Any

import pytest
import torch
from support.sample_batches import CLASSES, DIM, batch, build, value_and_gradients
from torch import Tensor, nn

from losses.batch_softmax import nt_xent
from losses.distillation import divergence, self_distillation
from losses.ensembles import read
from losses.members import shares
from losses.pair import contrastive
from losses.proxy import proxy_nca
from losses.shape import Shape

MANY = [contrastive, proxy_nca, nt_xent, proxy_nca, nt_xent]
SMALL: dict[str, Any] = {"size": 5, "targets": (9, 7, 8), "delay": 1, "weight": 3.0, "feature_weight": 2.0}


def plain_divergence(learner: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Row by row, from the definition of the divergence."""
    total = learner.new_zeros(())
    for mine, other in zip(*(_cosines(points) for points in (learner, teacher.detach())), strict=True):
        q, p = ((row / temperature).exp() / (row / temperature).exp().sum() for row in (mine, other))
        total = total + (p * (p / q).log()).sum()
    return temperature**2 * total / len(learner)


def _cosines(points: Tensor) -> Tensor:
    units = points / points.norm(dim=1, keepdim=True)
    return units @ units.T


class Plain(nn.Module):
    """From the layers and the losses of a module under test."""

    def __init__(self, module: nn.Module, *, temperature: float, features: bool) -> None:
        super().__init__()
        self.module, self.temperature, self.features = module, temperature, features

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        layers = self.module.layers
        base = embeddings @ layers.base.weight.T + layers.base.bias
        losses = [*list(self.module.members)[1:], *self.module.unnamed]
        theirs, apart = [], []
        for number, loss in enumerate(losses):
            first, _, second = layers.targets[number % 3]
            hidden = (embeddings @ first.weight.T + first.bias).clamp(min=0)
            theirs.append(loss(hidden @ second.weight.T + second.bias, labels))
        for first, _, second in layers.targets:
            hidden = (embeddings @ first.weight.T + first.bias).clamp(min=0)
            apart.append(plain_divergence(base, hidden @ second.weight.T + second.bias, self.temperature))
        total = (self.module.members[0](base, labels) + sum(theirs) / len(theirs)) / 2 + 3 * sum(apart) / 3
        return total + 2 * plain_divergence(base, embeddings, self.temperature) if self.features else total


@pytest.mark.parametrize("members", [MANY[2:3], MANY[:2], MANY], ids=len)
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_it_agrees_with_plain_loops_before_and_after_the_features_teach(members: list[Any], temperature: float) -> None:
    module = build(lambda s: self_distillation(s, members, temperature=temperature, **SMALL))
    embeddings, labels = batch()
    for features in (False, True):
        plain = Plain(module, temperature=temperature, features=features)
        module.eval()
        expected, theirs = value_and_gradients(plain, embeddings, labels)
        module.train()
        value, ours = value_and_gradients(module, embeddings, labels)
        torch.testing.assert_close(value, expected)
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_a_teacher_learns_nothing_from_being_followed() -> None:
    one, other = (torch.randn(6, 4, requires_grad=True) for _ in range(2))
    divergence(one, other, temperature=1.0).backward()
    assert one.grad is not None
    assert one.grad.any()
    assert other.grad is None


def test_equal_similarities_are_no_way_apart() -> None:
    points, turned = torch.randn(6, 4), torch.linalg.qr(torch.randn(4, 4)).Q
    assert divergence(points, 3 * points @ turned, temperature=0.5).item() == pytest.approx(0, abs=1e-6)


def test_the_embedding_is_what_is_read_and_the_targets_are_not() -> None:
    module = build(lambda s: self_distillation(s, [nt_xent], **SMALL))
    embeddings, _ = batch()
    found = read(module, embeddings)
    assert found.shape == (len(embeddings), 5)
    torch.testing.assert_close(found, nn.functional.normalize(module.layers.base(embeddings)))


def test_the_loss_of_the_embedding_is_written_down() -> None:
    module = build(lambda s: self_distillation(s, [nt_xent], **SMALL))
    embeddings, labels = batch()
    module(embeddings, labels)
    (share,) = shares(module)
    assert share.value == pytest.approx(module.members[0](module.layers.base(embeddings), labels).item())


def test_it_goes_on_where_it_stood() -> None:
    """Also within the delay."""
    make = partial(self_distillation, members=[nt_xent], **SMALL | {"delay": 2})
    straight, again = build(make), build(make)
    straight(*batch())
    again.load_state_dict(straight.state_dict())
    for _ in range(3):
        assert straight(*batch()).item() == again(*batch()).item()


def test_followers_come_nearer_to_their_teachers() -> None:
    torch.manual_seed(0)
    module = self_distillation(Shape(DIM, CLASSES), [nt_xent], size=4, targets=(32,), feature_weight=0.0)
    embeddings, labels = batch(dtype=torch.float32)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)

    def apart() -> float:
        wide = module.layers.targets[0](embeddings)
        return divergence(module.layers.base(embeddings), wide, temperature=1.0).item()

    before = apart()
    for _ in range(60):
        optimizer.zero_grad()
        module(embeddings, labels).backward()
        optimizer.step()
    assert apart() < before / 2


def test_nothing_to_train_is_refused() -> None:
    for members, targets in (([], (8,)), ([nt_xent], ())):
        with pytest.raises(ValueError, match="no member or no target"):
            self_distillation(Shape(DIM, CLASSES), members, targets=targets)
