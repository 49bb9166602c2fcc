import pytest
import torch
from torch import nn

from bench.job.gradient_cache import in_parts
from losses import ensembles, multitask
from losses.class_softmax import normalized_softmax
from losses.pair import multi_similarity
from losses.shape import Shape
from losses.triplets import triplet

LABELS = torch.arange(13) // 3


class Trunk(nn.Module):
    def __init__(self, layer, dropout=0.0):
        super().__init__()
        self.convolution, self.norm, self.dropout = nn.Conv2d(3, 6, 3), layer, nn.Dropout(dropout)
        self.head = nn.Linear(6, 4)

    def forward(self, images):
        return self.head(self.dropout(self.norm(self.convolution(images))).tanh().mean((2, 3)))


def layer_norm():
    return nn.GroupNorm(1, 6)


def images(dtype=torch.float32):
    return torch.rand(13, 3, 9, 9, generator=torch.Generator().manual_seed(3), dtype=dtype)


def gradient(model, objective, images, labels, *, at_a_time, precision=torch.float32):
    """In parts, or, with None, of the whole batch, by automatic differentiation alone; the loss."""
    if at_a_time is not None:
        return in_parts(model, objective, images, labels, at_a_time=at_a_time, precision=precision)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        embeddings = model(images)
    loss = objective(embeddings.to(images.dtype), labels)
    loss.backward()
    return loss.detach()


def step(layer, objective, *, at_a_time, dtype=torch.float32, dropout=0.0, **options):
    """Gradients by name, the model, and the loss of one step from seeded weights."""
    torch.manual_seed(0)
    model, loss = Trunk(layer, dropout).to(dtype).train(), objective(Shape(4, 5)).to(dtype).train()
    torch.manual_seed(1)
    value = gradient(model, loss, images(dtype), LABELS, at_a_time=at_a_time, **options)
    both = [*model.named_parameters(), *((f"objective.{name}", one) for name, one in loss.named_parameters())]
    return {name: tensor.grad for name, tensor in both}, model, value


def in_one_model(kind):
    return lambda shape: kind(shape, [triplet, normalized_softmax])


OBJECTIVES = [
    multi_similarity,
    normalized_softmax,
    in_one_model(ensembles.sum),
    in_one_model(multitask.conflict_free),
    in_one_model(multitask.gradient_norm),
]


@pytest.mark.parametrize("at_a_time", [1, 5, 12])
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 1e-6), (torch.float64, 1e-13)])
def test_the_gradient_of_parts_is_the_whole_batchs(objective, at_a_time, dtype, least):
    whole, _, value = step(layer_norm(), objective, at_a_time=None, dtype=dtype)
    parts, _, again = step(layer_norm(), objective, at_a_time=at_a_time, dtype=dtype)
    assert float(again) == pytest.approx(float(value), rel=least)
    assert any(tensor.norm() > 1e4 * least for tensor in whole.values())
    for name, tensor in whole.items():
        assert (parts[name] - tensor).norm() <= least * (1 + tensor.norm())


def test_dropout_draws_the_same_both_times_and_what_follows_draws_anew():
    """Held against automatic differentiation of the parts side by side, with a graph of all of them."""
    found, _, _ = step(layer_norm(), multi_similarity, at_a_time=5, dtype=torch.float64, dropout=0.5)
    drawn = torch.rand(3)
    torch.manual_seed(0)
    model, loss = Trunk(layer_norm(), 0.5).double().train(), multi_similarity(Shape(4, 5))
    torch.manual_seed(1)
    embeddings = torch.cat([model(part) for part in torch.tensor_split(images(torch.float64), 3)])
    loss(embeddings, LABELS).backward()
    assert torch.equal(torch.rand(3), drawn)
    for name, tensor in model.named_parameters():
        torch.testing.assert_close(found[name], tensor.grad, atol=1e-14, rtol=1e-12)


def test_live_batch_norms_see_each_part_as_a_batch_and_once():
    whole, _, _ = step(nn.BatchNorm2d(6), multi_similarity, at_a_time=None)
    parts, model, _ = step(nn.BatchNorm2d(6), multi_similarity, at_a_time=5)
    assert not torch.allclose(whole["convolution.weight"], parts["convolution.weight"], rtol=1e-3)
    torch.manual_seed(0)
    other = Trunk(nn.BatchNorm2d(6)).train()
    for part in torch.tensor_split(images(), 3):
        other(part)
    assert int(model.norm.num_batches_tracked) == 3
    assert torch.equal(model.norm.running_mean, other.norm.running_mean)
    assert torch.equal(model.norm.running_var, other.norm.running_var)
    assert model.norm.track_running_stats


def test_frozen_batch_norms_do_not_look_across_the_batch():
    found = []
    for at_a_time in (None, 4):
        torch.manual_seed(0)
        model = Trunk(nn.BatchNorm2d(6)).double().train()
        model.norm.eval()
        gradient(model, multi_similarity(Shape(4, 5)), images(torch.float64), LABELS, at_a_time=at_a_time)
        found.append([tensor.grad for tensor in model.parameters()])
        assert int(model.norm.num_batches_tracked) == 0
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-12)


def test_no_more_than_a_part_is_held_at_once():
    held, peak = 0, []

    def pack(tensor):
        nonlocal held
        held += tensor.numel()
        return tensor

    class Watched(Trunk):
        def forward(self, images):
            nonlocal held
            held = 0
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                embeddings = super().forward(images)
            peak[-1] = max(peak[-1], held)
            return embeddings

    for at_a_time in (None, 4):
        peak.append(0)
        model = Watched(layer_norm()).train()
        gradient(model, multi_similarity(Shape(4, 5)), images(), LABELS, at_a_time=at_a_time)
    assert peak[1] < 0.4 * peak[0]


def test_bfloat16_in_parts_gives_the_objective_float32():
    seen = []

    def objective(shape):
        loss = multi_similarity(shape)
        loss.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0].dtype))
        return loss

    whole, _, _ = step(layer_norm(), objective, at_a_time=None, precision=torch.bfloat16)
    parts, _, _ = step(layer_norm(), objective, at_a_time=5, precision=torch.bfloat16)
    assert seen == [torch.float32, torch.float32]
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=5e-3, rtol=0.1)
