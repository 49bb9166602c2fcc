"""ROADMAP and its two parts against their authors' values, plain loops and the exact ranking."""

import math
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score
from support.recent_golden import assert_loss_met, every_case, in_both_precisions, stored
from support.sample_batches import assert_same, batch, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from losses import ensembles
from losses.decomposable import Step, average_precisions, calibration, roadmap, sup_ap
from losses.pairwise import References
from losses.shape import Shape


def others(case: dict[str, Any], *, padded: bool) -> References | None:
    """What a case compares its batch with, if not with itself: no copies of it, so no image finds itself there.

    Padded, a row of zeros of another class stands for itself: it has similarity 0 with everything, and costs nothing.
    """
    if "ref_embeddings" not in case:
        return None
    rows, known = case["ref_embeddings"], case["ref_labels"]
    if not padded:
        return References(rows, known, torch.zeros_like(case["labels"]))
    own = torch.full_like(case["labels"], len(known))
    return References(F.pad(rows, (0, 0, 0, 1)), F.pad(known, (0, 1), value=int(known.max()) + 1), own)


@in_both_precisions
@every_case("sup_ap")
def test_stored_values_of_sup_ap_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    embeddings, labels = case["embeddings"].requires_grad_(), case["labels"]
    settings = {"temperature": case["tau"], "rho": case["rho"], "delta": case["delta"], "start": case["start"]}
    offset, references = case["offset"], others(case, padded=False)
    found, asked = average_precisions(
        embeddings, labels, references, step=Step(offset=offset, **settings), normalize=False
    )
    assert asked.all()
    for each in [offset, "continuous"] if case["offset_is_default"] else [offset]:
        module = sup_ap(Shape(embeddings.shape[1], 1), offset=each, normalize=False, **settings)
        assert_loss_met(module(embeddings, labels, references), case, dtype, ap=found)


@in_both_precisions
@every_case("calibration")
def test_stored_values_of_calibration_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    embeddings, labels = case["embeddings"].requires_grad_(), case["labels"]
    margins = {"positive_margin": case["pos_margin"], "negative_margin": case["neg_margin"]}
    module = calibration(Shape(embeddings.shape[1], 1), **margins)
    assert_loss_met(module(embeddings, labels, others(case, padded=True)), case, dtype)


def unbalanced(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of 1, 1, 2, 3 and 5 images, in mixed order."""
    embeddings, _ = batch(seed=seed)
    return embeddings[:12], torch.tensor([7, 0, 3, 0, 5, 3, 0, 7, 9, 0, 3, 0])


class Loops(nn.Module):
    """As the paper has it, one query, positive and image at a time; it notes which parts of the step were used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        rows, known = F.normalize(embeddings), labels.tolist()
        n, costs = len(known), []
        for q in range(n):
            score, own = rows @ rows[q], [i for i in range(n) if known[i] == known[q]]
            for i in own:
                near = 1 + sum(float(score[j] >= score[i]) for j in own if j != i)
                far = sum(self.height(score[j] - score[i]) for j in range(n) if j not in own)
                costs.append((1 - near / (near + far)) / len(own))
        return sum(costs) / n

    def height(self, u: Tensor) -> Tensor:
        soft = 1 / (1 + torch.exp(-u / 0.05))
        part = "behind" if u <= 0 else "little ahead" if u <= 0.2 else "far ahead"
        self.used.add(part)
        return {"behind": soft, "little ahead": 0.4 + soft, "far ahead": 1.3 + 20 * (u - 0.2)}[part]


@pytest.mark.parametrize("seed", range(2))
def test_sup_ap_agrees_with_loops(seed: int) -> None:
    loops = Loops()
    expected = value_and_gradients(loops, *unbalanced(seed))
    assert loops.used == {"behind", "little ahead", "far ahead"}
    module = sup_ap(shape(), temperature=0.05, rho=20, delta=0.2, offset=1.3, start=0.4)
    assert_same(value_and_gradients(module, *unbalanced(seed)), expected, 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_sup_ap_is_never_below_what_the_ranking_costs(seed: int) -> None:
    """The query, which is first, is one of its own positives."""
    embeddings, labels = unbalanced(seed)
    similarity = (F.normalize(embeddings) @ F.normalize(embeddings).T).numpy()
    exact = [average_precision_score(labels == own, scores) for scores, own in zip(similarity, labels, strict=True)]
    step = Step(0.01, rho=100, delta=0.05, offset=1.44, start=0.5)
    found, _ = average_precisions(embeddings, labels, step=step)
    assert (found <= torch.tensor(exact) + 1e-9).all()
    assert found.min() < min(exact) < 0.9


def test_a_positive_passes_no_gradient_where_it_is_counted() -> None:
    """Only the order of the positives among themselves changes, far from any negative."""
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [-1.0, 0.0]], dtype=torch.float64)
    value, (gradient,) = value_and_gradients(sup_ap(shape(2)), embeddings, torch.tensor([0, 0, 0, 1]))
    assert value.item() == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


def test_a_continuous_offset_leaves_no_jump() -> None:
    step = sup_ap(shape(), offset="continuous", temperature=0.02).settings["step"]
    below, above = step(torch.tensor([0.05 - 1e-12, 0.05 + 1e-12], dtype=torch.float64)).tolist()
    assert below == pytest.approx(0.5 + 1 / (1 + math.exp(-2.5)), abs=1e-9)
    assert above == pytest.approx(below, abs=1e-9)


@pytest.mark.parametrize("from_memory", [False, True])
def test_calibration_agrees_with_loops(from_memory: bool) -> None:
    embeddings, labels = unbalanced()
    rows, known, own = embeddings, labels, list(range(len(labels)))
    if from_memory:
        more, classes = batch(seed=1)
        rows, known, own = torch.cat([more, embeddings]), torch.cat([classes, labels]), [len(more) + i for i in own]
    cosine, near, far = F.normalize(embeddings) @ F.normalize(rows).T, [], []
    for i, j in product(range(len(labels)), range(len(known))):
        s = cosine[i, j].item()
        if labels[i] != known[j]:
            far += [s - 0.1] * (s > 0.1)
        elif j != own[i]:
            near += [0.7 - s] * (s < 0.7)
    module = calibration(shape(), positive_margin=0.7, negative_margin=0.1)
    value = module(embeddings, labels, References(rows, known, torch.tensor(own)) if from_memory else None)
    assert value.item() == pytest.approx(sum(near) / len(near) + sum(far) / len(far), abs=1e-12)


def test_gradients_of_both_parts_are_those_of_small_differences() -> None:
    """Away from the places where the step jumps and a pair begins to cost."""
    embeddings, labels = unbalanced()
    moving = embeddings.clone().requires_grad_()
    for module in (sup_ap(shape(), temperature=0.1), calibration(shape()), roadmap(shape(), temperature=0.1)):
        assert torch.autograd.gradcheck(module, (moving, labels), eps=1e-7, atol=1e-5)


def test_a_batch_whose_pairs_are_all_right_costs_no_calibration() -> None:
    labels = torch.arange(4).repeat(3)
    value, (gradient,) = value_and_gradients(calibration(shape(4)), torch.eye(4, dtype=torch.float64)[labels], labels)
    assert value == 0
    assert not gradient.any()


def test_roadmap_is_the_weighted_sum_of_its_parts() -> None:
    step = {"temperature": 0.02, "rho": 50, "delta": 0.1, "offset": "continuous", "start": 0.3}
    margins = {"positive_margin": 0.8, "negative_margin": 0.3}
    parts = [partial(sup_ap, **step), partial(calibration, **margins)]
    expected = value_and_gradients(ensembles.sum(shape(), parts, weights=(0.7, 0.3)), *unbalanced())
    found = value_and_gradients(roadmap(shape(), balance=0.3, **step, **margins), *unbalanced())
    assert_same(found, expected, 1e-12)


def test_by_default_the_two_parts_weigh_the_same() -> None:
    both = ensembles.sum(shape(), [sup_ap, calibration])(*unbalanced())
    assert roadmap(shape())(*unbalanced()).item() == pytest.approx(both.item() / 2, abs=1e-12)
