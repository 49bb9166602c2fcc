"""Softmax losses with a varying margin against the authors' code and plain loops, and what they remember."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.recent_golden import assert_met, every_case, in_both_precisions, stored
from support.sample_batches import CLASSES, DIM, Loss, assert_same, batch, build, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses.angular_softmax import arc_face, cos_face
from losses.shape import Shape
from losses.varying_margin import ada_face, ada_face_logits, curricular_face, curricular_face_logits, mag_face

Table = list[list[Tensor]]
"""Cosines, image by image and class by class."""


def on_kernel(case: dict[str, Any], loss: Callable[..., nn.Module], **settings: Any) -> nn.Module:
    """A loss whose class weights are the case's, which has them as columns."""
    module = loss(Shape(*case["kernel"].shape), **settings).to(case["kernel"].dtype)
    module.weight.data = case["kernel"].T.clone()
    return module


def steps(
    case: dict[str, Any], module: nn.Module, state: nn.Module, logits_of: Callable[..., Tensor]
) -> dict[str, Any]:
    """What the case's batches give, one after the other: values, gradients, logits and the state after each."""
    found: dict[str, list[Tensor]] = {"loss": [], "grad_embeddings": [], "grad_kernel": [], "logits": [], "state": []}
    for embeddings, labels in zip(case["embeddings"], case["labels"], strict=True):
        value, (gradient, of_weight) = value_and_gradients(module, embeddings, labels)
        own = {name: getattr(module, name) for name in module.own}
        module.eval()
        logits = logits_of(embeddings, labels, **own, **module.settings)
        module.train()
        row = (value, gradient, of_weight.T, logits, state.value)
        for key, tensor in zip(found, row, strict=True):
            found[key].append(tensor.detach())
    return {key: torch.stack(tensors) for key, tensors in found.items()}


@in_both_precisions
@every_case("ada_face")
def test_ada_face_meets_the_authors_code(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    settings = {"margin": case["m"], "concentration": case["h"], "scale": case["s"], "momentum": case["t_alpha"]}
    module = on_kernel(case, ada_face, **settings)
    assert module.norms.value.tolist() == [case["batch_mean_init"], case["batch_std_init"]]
    found = steps(case, module, module.norms, ada_face_logits)
    means, deviations = found.pop("state").T
    assert_met({**found, "batch_mean": means, "batch_std": deviations}, case, dtype)


@in_both_precisions
@every_case("curricular_face")
def test_curricular_face_meets_the_authors_code(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    module = on_kernel(case, curricular_face, margin=case["m"], scale=case["s"])
    module.progress.value.fill_(case["t_init"])
    found = steps(case, module, module.progress, curricular_face_logits)
    t = found.pop("state")[:, 0]
    cosine = F.normalize(case["embeddings"], dim=2) @ F.normalize(case["kernel"], dim=0)
    changed = ((found["logits"] / case["s"] - cosine).abs() > 1e-5).scatter(2, case["labels"][:, :, None], False)
    assert_met({**found, "t": t, "n_hard": changed.sum((1, 2))}, case, dtype)


@in_both_precisions
@every_case("mag_face")
def test_mag_face_meets_the_authors_code(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    margins = {"low_margin": case["l_margin"], "high_margin": case["u_margin"]}
    settings = {**margins, "low_norm": case["l_a"], "high_norm": case["u_a"], "scale": case["s"]}
    whole, part = (
        on_kernel(case, mag_face, norm_weight=norm_weight, easy=bool(case["easy_margin"]), **settings)
        for norm_weight in (case["lambda_g"], 0.0)
    )
    value, (gradient, of_weight) = value_and_gradients(whole, case["embeddings"], case["labels"])
    of_class = part(case["embeddings"], case["labels"])
    parts = {"loss": value, "loss_id": of_class, "loss_g": (value - of_class) / case["lambda_g"]}
    assert_met({**parts, "grad_embeddings": gradient, "grad_kernel": of_weight.T}, case, dtype)


class Plain(nn.Module):
    """A loss by loops over the images and classes; `cosines` gives those of all classes as the loss counts them."""

    def __init__(self, weight: Tensor, scale: float, cosines: Callable[[Tensor, Tensor, Table], Table]):
        super().__init__()
        self.weight, self.scale, self.cosines = nn.Parameter(weight.detach().clone()), scale, cosines

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        table = [[x @ w / (x.norm() * w.norm()) for w in self.weight] for x in embeddings]
        costs = []
        for row, y in zip(self.cosines(embeddings, labels, table), labels.tolist(), strict=True):
            shares = [torch.exp(self.scale * cosine) for cosine in row]
            costs.append(-torch.log(shares[y] / sum(shares)))
        return sum(costs) / len(costs)


def two_batches(ours: nn.Module, plain: Callable[[Tensor], nn.Module]) -> None:
    """Classes lie around their vectors in the first batch alone."""
    ours.weight.data = class_means(*batch())
    loops = plain(ours.weight)
    for seed in range(2):
        assert_same(value_and_gradients(ours, *spread(seed)), value_and_gradients(loops, *spread(seed)), 1e-9)


def class_means(embeddings: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([embeddings[labels == c].mean(0) for c in range(CLASSES)])


def spread(seed: int) -> tuple[Tensor, Tensor]:
    """A batch with norms of about 1 to 160, in which one image lies opposite to its class."""
    embeddings, labels = batch(seed=seed)
    embeddings[5] = -class_means(embeddings, labels)[labels[5]]
    return embeddings * torch.logspace(-1, 1.2, len(labels), dtype=torch.float64)[:, None], labels


def test_ada_face_agrees_with_plain_loops() -> None:
    state = [20.0, 100.0]

    def cosines(embeddings: Tensor, labels: Tensor, table: Table) -> Table:
        norms = [min(max(math.sqrt(sum(v * v for v in x)), 0.001), 100.0) for x in embeddings.tolist()]
        mean = sum(norms) / len(norms)
        deviation = math.sqrt(sum((norm - mean) ** 2 for norm in norms) / (len(norms) - 1))
        state[:] = [0.3 * mean + 0.7 * state[0], 0.3 * deviation + 0.7 * state[1]]
        for row, y, norm in zip(table, labels.tolist(), norms, strict=True):
            z = min(max(0.9 * (norm - state[0]) / (state[1] + 0.001), -1), 1)
            row[:] = [cosine.clamp(-0.999, 0.999) for cosine in row]
            angle = (torch.acos(row[y]) - 0.4 * z).clamp(0.001, math.pi - 0.001)
            row[y] = torch.cos(angle) - (0.4 + 0.4 * z)
        return table

    ours = build(lambda s: ada_face(s, concentration=0.9, scale=8.0, momentum=0.3))
    two_batches(ours, lambda weight: Plain(weight, 8, cosines))
    assert ours.norms.value.tolist() == pytest.approx(state)


def test_curricular_face_agrees_with_plain_loops() -> None:
    state, hard, beyond = [0.0], [], []

    def cosines(embeddings: Tensor, labels: Tensor, table: Table) -> Table:
        own = [row[y].item() for row, y in zip(table, labels.tolist(), strict=True)]
        state[0] = 0.3 * sum(own) / len(own) + 0.7 * state[0]
        for row, y in zip(table, labels.tolist(), strict=True):
            turned = torch.cos(torch.acos(row[y]) + 0.9)
            beyond.append(bool(row[y] <= -math.cos(0.9)))
            hard.extend(bool(row[c] > turned) for c in range(CLASSES) if c != y)
            lowered = row[y] - 0.9 * math.sin(0.9) if beyond[-1] else turned
            row[:] = [c * (state[0] + c) if c > turned else c for c in row]
            row[y] = lowered
        return table

    ours = build(lambda s: curricular_face(s, margin=0.9, scale=8.0, momentum=0.3))
    two_batches(ours, lambda weight: Plain(weight, 8, cosines))
    assert ours.progress.value.tolist() == pytest.approx(state)
    assert 0 < sum(hard) < len(hard)
    assert 0 < sum(beyond) < len(beyond)


@pytest.mark.parametrize("easy", [True, False])
def test_mag_face_agrees_with_plain_loops(easy: bool) -> None:
    def cosines(embeddings: Tensor, labels: Tensor, table: Table) -> Table:
        for row, y, x in zip(table, labels.tolist(), embeddings, strict=True):
            margin = 0.3 + (1.2 - 0.3) * (x.norm().clamp(5, 60) - 5) / (60 - 5)
            far = row[y] <= (0 if easy else -torch.cos(margin))
            otherwise = row[y] if easy else row[y] - margin * torch.sin(margin)
            row[y] = otherwise if far else torch.cos(torch.acos(row[y]) + margin)
        return table

    class WithNorms(Plain):
        def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
            norms = [x.norm().clamp(5, 60) for x in embeddings]
            asked = sum(norm / 60**2 + 1 / norm for norm in norms) / len(norms)
            return super().forward(embeddings, labels) + 7 * asked

    bounds = {"low_norm": 5.0, "high_norm": 60.0, "low_margin": 0.3, "high_margin": 1.2}
    ours = build(lambda s: mag_face(s, norm_weight=7.0, easy=easy, scale=8.0, **bounds))
    two_batches(ours, lambda weight: WithNorms(weight, 8, cosines))


@pytest.mark.parametrize(("norm", "other"), [(0.01, arc_face), (20.0, cos_face)], ids=["short", "usual"])
def test_ada_face_goes_from_arc_face_to_cos_face_with_the_norm(norm: float, other: Loss) -> None:
    embeddings, labels = batch()
    module = build(lambda s: ada_face(s, concentration=1000.0)).eval()
    expected = build(lambda s: other(s, margin=0.4))(embeddings, labels)
    torch.testing.assert_close(module(norm * F.normalize(embeddings), labels), expected)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_mag_face_at_a_bound_of_the_norm_is_arc_face(share: float) -> None:
    embeddings, labels = batch()
    module = build(lambda s: mag_face(s, norm_weight=0.0, easy=False))
    expected = build(lambda s: arc_face(s, margin=0.45 + share * 0.35))(embeddings, labels)
    torch.testing.assert_close(module((1 + 1000 * share) * F.normalize(embeddings), labels), expected)


def test_mag_face_draws_norms_within_its_bounds_out_and_leaves_others() -> None:
    embeddings, labels = batch()
    norms = torch.linspace(5, 150, len(labels), dtype=torch.float64)[:, None]
    module = build(lambda s: mag_face(s, norm_weight=1e6))
    _, (gradient, _) = value_and_gradients(module, norms * F.normalize(embeddings), labels)
    along = (gradient * F.normalize(embeddings)).sum(1)
    within = ((norms > 10) & (norms < 110)).flatten()
    assert (along[within] < 0).all()
    torch.testing.assert_close(along[~within], torch.zeros_like(along[~within]), atol=1e-9, rtol=0)


def test_mag_face_refuses_bounds_the_wrong_way_round() -> None:
    with pytest.raises(ValueError, match="each low_ must be below its high_"):
        mag_face(Shape(DIM, CLASSES), low_norm=110.0)


@pytest.mark.parametrize(("loss", "state"), [(ada_face, "norms"), (curricular_face, "progress")])
def test_what_is_remembered_moves_in_training_alone_and_is_in_the_state(loss: Loss, state: str) -> None:
    module = build(loss)
    start = getattr(module, state).value.clone()
    module.eval()(*batch())
    assert torch.equal(getattr(module, state).value, start)
    module.train()(*batch())
    moved = module.state_dict()[f"{state}.value"]
    assert not moved.requires_grad
    assert (moved != start).all()


def test_a_single_image_leaves_the_deviation_as_it_is() -> None:
    embeddings, labels = batch()
    module = build(lambda s: ada_face(s, momentum=0.5))
    module(embeddings[:1], labels[:1])
    assert module.norms.value.tolist() == pytest.approx([10 + float(embeddings[0].norm()) / 2, 100])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("loss", [ada_face, curricular_face, mag_face], ids=lambda loss: loss.__name__)
def test_embeddings_on_and_opposite_their_class_vectors_stay_finite(loss: Loss, dtype: torch.dtype) -> None:
    module = build(loss, dtype)
    vectors = 20 * module.weight.detach()
    value, gradients = value_and_gradients(
        module, torch.cat([vectors, -vectors, torch.zeros_like(vectors)]), torch.arange(CLASSES).repeat(3)
    )
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)
