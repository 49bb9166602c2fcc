import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bench.job.optimizer import Rates, optimizer, schedule
from bench.job.train import Training, train


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, images):
        return self.head(self.trunk(images))


class Centres(nn.Module):
    """Squared distance to one learned point a class."""

    def __init__(self):
        super().__init__()
        self.points = nn.Parameter(torch.eye(2))

    def forward(self, embeddings, labels):
        return (embeddings - self.points[labels]).square().sum(1).mean()


def batches(epochs, steps=5, scale=1.0):
    draws = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        yield [(scale * torch.randn(8, 4, generator=draws), torch.arange(8) % 2) for _ in range(steps)]


def build(**rates):
    torch.manual_seed(0)
    model, objective = Model(), Centres()
    rates = Rates(**{"trunk": 1e-2, "head": 1e-2, "loss": 1e-2} | rates)
    return training(model, objective, optimizer(model, objective, rates, weight_decay=0.0))


def training(model, objective, optimized, rate=lambda _epoch: 1.0, steps=5):
    return Training(model, objective, optimized, LambdaLR(optimized, lambda step: rate(step / steps)), {})


def run(built, epochs=3, **options):
    return list(train(built, batches(epochs), **options))


def test_one_epoch_a_step_and_the_loss_falls():
    history = run(build(), epochs=4)
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]
    assert all(epoch.images == 40 and epoch.seconds > 0 for epoch in history)
    assert history[-1].loss < history[0].loss


def test_training_waits_for_its_caller():
    built = build()
    before = built.model.head.weight.clone()
    epochs = train(built, batches(2))
    assert torch.equal(before, built.model.head.weight)
    next(epochs)
    assert not torch.equal(before, built.model.head.weight)


@pytest.mark.parametrize(("group", "names"), [("trunk", ["trunk"]), ("head", ["head"]), ("loss", ["points"])])
def test_every_group_has_its_own_rate(group, names):
    built = build(**({"trunk": 0.0, "head": 0.0, "loss": 0.0} | {group: 1e-2}))
    everything = [*built.model.named_parameters(), *built.objective.named_parameters()]
    before = {name: tensor.clone() for name, tensor in everything}
    run(built)
    moved = {name.partition(".")[0] for name, tensor in everything if not torch.equal(before[name], tensor)}
    assert moved == set(names)


def test_frozen_tensors_are_in_no_group_and_all_others_in_one():
    model, objective = Model(), Centres()
    model.trunk.weight.requires_grad_(False)
    adam = optimizer(model, objective, Rates(1.0, 1.0, 1.0), weight_decay=0.0)
    assert [len(group["params"]) for group in adam.param_groups] == [1, 2, 1]


def test_a_tensor_that_would_be_trained_twice_is_refused():
    model, objective = Model(), Centres()
    objective.borrowed = model.head
    with pytest.raises(AssertionError, match="trained twice or never"):
        optimizer(model, objective, Rates(1.0, 1.0, 1.0), weight_decay=0.0)


def test_the_gradient_is_clipped_over_all_tensors_together():
    model, objective = Model(), Centres()
    tensors = [*model.parameters(), *objective.parameters()]
    before = [tensor.detach().clone() for tensor in tensors]
    list(train(training(model, objective, torch.optim.SGD(tensors, lr=1.0)), batches(1, 1, 1e3), clip=0.5))
    moved = torch.cat([(a.detach() - b).flatten() for a, b in zip(tensors, before, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)


def test_a_loss_that_is_not_finite_is_reported_as_it_is():
    assert not math.isfinite(next(train(build(), batches(3, scale=math.inf))).loss)


def test_bfloat16_runs_the_model_and_spares_the_objective():
    built = build()
    seen = []
    built.model.head.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.dtype))
    built.objective.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].dtype))
    run(built, epochs=1, precision=torch.bfloat16)
    assert set(seen[::2]) == {torch.bfloat16}
    assert set(seen[1::2]) == {torch.float32}


def test_schedules_at_their_landmarks():
    cosine = schedule("cosine", 10)
    assert [cosine(epoch) for epoch in (0, 5, 10)] == pytest.approx([1, 0.5, 0])
    step = schedule("step", 10, step=2, factor=0.1)
    assert [step(epoch) for epoch in (0, 1.9, 2, 4.5)] == pytest.approx([1, 1, 0.1, 0.01])
    warm = schedule("constant", 10, warmup=2)
    assert 0 < warm(0) < 0.01
    assert [warm(1), warm(2), warm(9)] == pytest.approx([0.5, 1, 1], rel=1e-2)


def test_the_first_epoch_follows_the_last_one_in_the_history():
    built = build()
    built.history += [{"epoch": 1}, {"epoch": 2}]
    assert [epoch.epoch for epoch in run(built, epochs=2)] == [3, 4]


def test_the_rate_written_down_is_the_last_one_used():
    built = build()
    built = training(built.model, built.objective, built.optimizer, schedule("step", 2, step=1, factor=0.5))
    history = run(built, epochs=2)
    assert [epoch.rate for epoch in history] == pytest.approx([1e-2, 5e-3])
