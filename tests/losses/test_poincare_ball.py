"""The hyperbolic loss against the authors' code and plain loops."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.recent_golden import assert_loss_met, assert_met, every_case, in_both_precisions, stored
from support.sample_batches import DIM, assert_same, batch, build, value_and_gradients
from torch import Tensor, nn

import losses
from losses.ensembles import compared_by, read
from losses.poincare_ball import ball_distances, ball_points, hyperbolic
from losses.shape import Shape, Unsuitable

BEYOND = {"hyperbolic_case6"}
"""Points beyond the projection radius: single precision is good for 5e-3 there."""


@in_both_precisions
@every_case("hyperbolic")
def test_values_and_gradients_meet_the_authors_code(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    case["embeddings"].requires_grad_()
    settings = {"curvature": case["hyp_c"], "clip": case["clip_r"] or None}
    points = ball_points(case["embeddings"], **settings)
    found = ball_distances(points, curvature=case["hyp_c"]) if case["hyp_c"] else points @ points.T
    module = hyperbolic(Shape(points.shape[1], 99), temperature=case["tau"], **settings)
    loss = module(case["embeddings"], case["labels"])
    if path.stem in BEYOND and dtype == torch.float32:
        (gradient,) = torch.autograd.grad(loss, case["embeddings"])
        torch.testing.assert_close(loss.item(), case["loss"], rtol=5e-3, atol=0)
        assert (gradient - case["grad_embeddings"]).abs().max() <= 5e-3 * case["grad_embeddings"].abs().max()
    else:
        assert_met({"points": points, "distances": found}, case, dtype)
        assert_loss_met(loss, case, dtype)


def one_distance(a: Tensor, b: Tensor, c: float) -> Tensor:
    """By the area hyperbolic sine: no guards."""
    across = c * (a - b).square().sum() / ((1 - c * a.square().sum()) * (1 - c * b.square().sum()))
    return 2 / math.sqrt(c) * across.sqrt().asinh()


class Plain(nn.Module):
    """By loops over the pairs of views."""

    def __init__(self, curvature: float, temperature: float) -> None:
        super().__init__()
        self.curvature, self.temperature = curvature, temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        root = math.sqrt(self.curvature)
        points = [x * (root * x.norm()).tanh() / (root * x.norm()) for x in embeddings]
        views = [[points[i] for i in torch.nonzero(labels == one)[:, 0]] for one in labels.unique()]
        total = embeddings.new_zeros(())
        for a in range(max(map(len, views))):
            for b in range(max(map(len, views))):
                both = [one for one in views if len(one) > max(a, b)]
                if a == b or not both:
                    continue
                costs = []
                for one in both:
                    others = [w[b] for w in views if len(w) > b] + [w[a] for w in views if len(w) > a and w is not one]
                    logits = torch.stack([-one_distance(one[a], w, self.curvature) for w in others]) / self.temperature
                    own = -one_distance(one[a], one[b], self.curvature) / self.temperature
                    costs.append(logits.logsumexp(0) - own)
                total = total + torch.stack(costs).mean()
        return total


@pytest.mark.parametrize("most", [5, 2], ids=["balanced", "unbalanced"])
def test_hyperbolic_agrees_with_plain_loops(most: int) -> None:
    """Up to the authors' guards."""
    embeddings, labels = batch()
    embeddings, labels = embeddings / 8, labels.clamp(max=most)
    ours = build(lambda s: hyperbolic(s, curvature=0.3, temperature=0.5, clip=None))
    assert_same(
        value_and_gradients(ours, embeddings, labels),
        value_and_gradients(Plain(0.3, 0.5), embeddings, labels),
        2e-4,
    )


def test_far_views_stay_finite_in_single_precision() -> None:
    """Where every candidate of a view underflows beside those of another."""
    embeddings = torch.zeros(6, DIM)
    embeddings[:3, 0], embeddings[3:, 1] = 40.0, torch.tensor([0.0, 1e-4, 40.0])
    value, (gradient,) = value_and_gradients(
        build(lambda s: hyperbolic(s, clip=None, temperature=0.05), torch.float32), embeddings, torch.arange(6) // 2
    )
    assert value.isfinite()
    assert gradient.isfinite().all()


def test_what_is_read_are_points_of_the_unit_ball() -> None:
    embeddings, _ = batch()
    ball, sphere = build(hyperbolic), build(lambda s: hyperbolic(s, curvature=0.0))
    points = read(ball, embeddings)
    found = ball_distances(ball_points(embeddings, curvature=0.1, clip=2.3), curvature=0.1)
    assert (compared_by(ball), compared_by(sphere)) == ("hyperbolic", "euclidean")
    assert points.norm(dim=1).max() < 1
    assert one_distance(points[0], points[1], 1).item() == pytest.approx(math.sqrt(0.1) * found[0, 1].item(), rel=1e-4)
    assert read(sphere, embeddings).norm(dim=1).tolist() == pytest.approx([1] * len(embeddings))


def test_an_ensemble_that_reads_by_cosine_refuses_it() -> None:
    for make in (losses.sum, losses.slices, losses.uncertainty, losses.weighted, losses.diverse_heads):
        with pytest.raises(Unsuitable, match=r"compares its embeddings by cosine, and a member by hyperbolic distance"):
            make(Shape(DIM, 6), [hyperbolic, losses.contrastive])
    with pytest.raises(Unsuitable, match="slices"):
        losses.slices(Shape(DIM, 6), [hyperbolic])


@pytest.mark.parametrize("make", [losses.sum, losses.uncertainty, losses.weighted])
def test_alone_in_an_ensemble_it_is_read_as_ever(make: Callable[..., nn.Module]) -> None:
    embeddings, _ = batch()
    module = build(lambda s: make(s, [hyperbolic]))
    assert compared_by(module) == "hyperbolic"
    assert read(module, embeddings).equal(read(build(hyperbolic), embeddings))
