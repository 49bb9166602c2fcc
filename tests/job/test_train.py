import math

import pytest
import torch
from torch import nn

from bench.job.train import optimizer, schedule, train


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
    rates = {"trunk": 1e-2, "head": 1e-2, "loss": 1e-2, "weight_decay": 0.0} | rates
    return model, objective, optimizer(model, objective, **rates)


def run(model, objective, adam, epochs=3, **options):
    options = {"schedule": schedule("constant", epochs), "steps": 5} | options
    return list(train(model, objective, batches(epochs), optimizer=adam, **options))


def test_one_epoch_a_step_and_the_loss_falls():
    history = run(*build(), epochs=4)
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]
    assert all(epoch.images == 40 and epoch.seconds > 0 for epoch in history)
    assert history[-1].loss < history[0].loss


def test_training_waits_for_its_caller():
    model, objective, adam = build()
    before = model.head.weight.clone()
    epochs = train(model, objective, batches(2), optimizer=adam, schedule=schedule("constant", 2), steps=5)
    assert torch.equal(before, model.head.weight)
    next(epochs)
    assert not torch.equal(before, model.head.weight)


@pytest.mark.parametrize(("group", "names"), [("trunk", ["trunk"]), ("head", ["head"]), ("loss", ["points"])])
def test_every_group_has_its_own_rate(group, names):
    model, objective, adam = build(**({"trunk": 0.0, "head": 0.0, "loss": 0.0} | {group: 1e-2}))
    everything = [*model.named_parameters(), *objective.named_parameters()]
    before = {name: tensor.clone() for name, tensor in everything}
    run(model, objective, adam)
    moved = {name.partition(".")[0] for name, tensor in everything if not torch.equal(before[name], tensor)}
    assert moved == set(names)


def test_frozen_tensors_are_in_no_group_and_all_others_in_one():
    model, objective = Model(), Centres()
    model.trunk.weight.requires_grad_(False)
    adam = optimizer(model, objective, trunk=1.0, head=1.0, loss=1.0, weight_decay=0.0)
    assert [len(group["params"]) for group in adam.param_groups] == [1, 2, 1]


def test_a_tensor_that_would_be_trained_twice_is_refused():
    model, objective = Model(), Centres()
    objective.borrowed = model.head
    with pytest.raises(AssertionError, match="trained twice or never"):
        optimizer(model, objective, trunk=1.0, head=1.0, loss=1.0, weight_decay=0.0)


def test_the_gradient_is_clipped_over_all_tensors_together():
    model, objective, _ = build()
    tensors = [*model.parameters(), *objective.parameters()]
    adam = torch.optim.SGD(tensors, lr=1.0)
    before = [tensor.detach().clone() for tensor in tensors]
    list(
        train(model, objective, batches(1, 1, 1e3), optimizer=adam, schedule=schedule("constant", 1), steps=1, clip=0.5)
    )
    moved = torch.cat([(a.detach() - b).flatten() for a, b in zip(tensors, before, strict=True)])
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)


def test_a_loss_that_is_not_finite_is_reported_as_it_is():
    model, objective, adam = build()
    epochs = train(
        model, objective, batches(3, scale=math.inf), optimizer=adam, schedule=schedule("constant", 3), steps=5
    )
    assert not math.isfinite(next(epochs).loss)


def test_bfloat16_runs_the_model_and_spares_the_objective():
    model, objective, adam = build()
    seen = []
    model.head.register_forward_hook(lambda _layer, _inputs, output: seen.append(output.dtype))
    objective.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].dtype))
    run(model, objective, adam, epochs=1, precision=torch.bfloat16)
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


def test_the_rate_written_down_is_the_last_one_used():
    history = run(*build(), epochs=2, schedule=schedule("step", 2, step=1, factor=0.5))
    assert [epoch.rate for epoch in history] == pytest.approx([1e-2, 5e-3])
