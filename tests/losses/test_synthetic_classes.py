"""Proxy Synthesis against the authors' vectors, plain loops and losses it comes down to."""

import math
from pathlib import Path

import pytest
import torch
from support.recent_golden import assert_all_met, every_case, in_both_precisions, stored
from support.sample_batches import CLASSES, assert_same, batch, build, value_and_gradients
from torch import Tensor

from losses.class_softmax import normalized_softmax
from losses.shape import Shape
from losses.synthetic_classes import in_turns, proxy_synthesis, proxy_synthesis_loss, synthetic


@in_both_precisions
@every_case("proxy_synthesis")
def test_authors_vectors_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    images = torch.arange(len(case["labels"]))
    assert torch.equal(case["partner"], images.roll(1))
    computed = {"n_synthetic": torch.tensor(synthetic(len(images), case["ps_mu"]))}
    for form in ("softmax", "nca"):
        inputs = [case[name].clone().requires_grad_() for name in ("embeddings", "proxies")]
        settings = {"form": form, "scale": case[f"scale_{form}"], "mu": case["ps_mu"]}
        loss = proxy_synthesis_loss(inputs[0], case["labels"], inputs[1], case["mix"], **settings)
        of_embeddings, of_proxies = torch.autograd.grad(loss, inputs)
        computed |= {f"loss_{form}": loss, f"grad_{form}_proxies": of_proxies, f"grad_{form}_embeddings": of_embeddings}
    assert_all_met(path, computed, dtype)


def loop_loss(
    embeddings: Tensor, labels: Tensor, proxies: Tensor, mix: float, *, form: str, scale: float, mu: float
) -> float:
    def unit(row: list[float]) -> list[float]:
        return [x / math.hypot(*row) for x in row]

    def mixed(one: list[float], other: list[float]) -> list[float]:
        return unit([mix * x + (1 - mix) * y for x, y in zip(one, other, strict=True)])

    def logit(x: list[float], p: list[float]) -> float:
        if form == "softmax":
            return scale * sum(a * b for a, b in zip(x, p, strict=True))
        return -scale * sum((a - b) ** 2 for a, b in zip(x, p, strict=True))

    rows, directions = ([unit(row) for row in given.tolist()] for given in (embeddings, proxies))
    images, classes, targets = list(rows), list(directions), labels.tolist()
    for i in range(min(len(rows), int(len(rows) * (1 + mu)) - len(rows))):
        images.append(mixed(rows[i], rows[i - 1]))
        classes.append(mixed(directions[targets[i]], directions[labels.tolist()[i - 1]]))
        targets.append(len(classes) - 1)
    costs = []
    for x, target in zip(images, targets, strict=True):
        logits = [logit(x, p) for p in classes]
        costs.append(math.log(sum(math.exp(z) for z in logits)) - logits[target])
    return sum(costs) / len(costs)


@pytest.mark.parametrize("form", ["softmax", "nca"])
@pytest.mark.parametrize(("mix", "mu"), [(0.3, 1.0), (0.9, 0.4), (0.0, 1.0), (0.5, 2.0), (0.5, 0.0)])
def test_proxy_synthesis_agrees_with_plain_loops(form: str, mix: float, mu: float) -> None:
    embeddings, labels = batch()
    proxies = build(proxy_synthesis).proxies.detach()
    ours = proxy_synthesis_loss(embeddings, labels, proxies, mix, form=form, scale=7.0, mu=mu)
    assert ours.item() == pytest.approx(
        loop_loss(embeddings, labels, proxies, mix, form=form, scale=7.0, mu=mu), abs=1e-11
    )


@pytest.mark.parametrize("form", ["softmax", "nca"])
def test_gradients_are_numeric_ones(form: str) -> None:
    embeddings, labels = batch(per_class=2)
    inputs = embeddings.requires_grad_(), build(proxy_synthesis).proxies.detach().requires_grad_()

    def loss(embeddings: Tensor, proxies: Tensor) -> Tensor:
        return proxy_synthesis_loss(embeddings, labels, proxies, 0.3, form=form, scale=5.0)

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize(
    ("images", "mu", "made"), [(16, 1.0, 16), (15, 0.5, 7), (16, 0.7, 11), (4, 2.5, 4), (3, 0.0, 0), (1, 0.9, 0)]
)
def test_so_many_images_are_made(images: int, mu: float, made: int) -> None:
    assert synthetic(images, mu) == made


def test_without_synthetic_classes_it_is_the_normalized_softmax() -> None:
    ours, plain = build(lambda s: proxy_synthesis(s, scale=20.0, mu=0.0)), build(normalized_softmax)
    assert_same(value_and_gradients(ours, *batch()), value_and_gradients(plain, *batch()), 1e-9)


def test_nca_is_softmax_at_twice_the_scale() -> None:
    nca = value_and_gradients(build(lambda s: proxy_synthesis(s, form="nca", scale=6.0)), *batch())
    softmax = value_and_gradients(build(lambda s: proxy_synthesis(s, scale=12.0)), *batch())
    assert_same(nca, softmax, 1e-9)


def test_the_share_is_drawn_from_torchs_generator() -> None:
    module = build(proxy_synthesis)

    def drawn(seed: int) -> float:
        torch.manual_seed(seed)
        return float(module(*batch()).detach())

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) == 4


def test_a_narrow_beta_mixes_in_halves() -> None:
    """And the images are mixed in the order of their turns."""
    embeddings, labels = batch()
    module = build(lambda s: proxy_synthesis(s, alpha=1e12))
    order = in_turns(labels)
    expected = proxy_synthesis_loss(embeddings[order], labels[order], module.proxies, 0.5)
    torch.testing.assert_close(module(embeddings, labels), expected, rtol=1e-4, atol=0)


def test_shares_are_spread_as_the_beta_distribution_is() -> None:
    """Of two images at right angles, each on its proxy, the value falls as the share leaves the middle."""
    torch.manual_seed(0)
    module = proxy_synthesis(Shape(2, 2), scale=1.0, alpha=0.4).double()
    embeddings = torch.eye(2, dtype=torch.float64)
    module.proxies.data = embeddings.clone()
    settings = {"labels": torch.arange(2), "proxies": embeddings, "scale": 1.0}
    middle, quarter, end = (proxy_synthesis_loss(embeddings, mix=mix, **settings) for mix in (0.5, 0.25, 0.0))
    assert middle > quarter > end
    outer = [bool(module(embeddings, torch.arange(2)) < quarter) for _ in range(400)]
    # By the distribution function of Beta(0.4, 0.4), at 1/4 and at 3/4; of an even spread it would be a half.
    assert sum(outer) / len(outer) == pytest.approx(0.7127, abs=0.06)


@pytest.mark.parametrize("per_class", [1, 2, 4])
def test_neighbours_differ_in_class(per_class: int) -> None:
    _, labels = batch(per_class=per_class)
    turned = labels[in_turns(labels)]
    assert (turned != turned.roll(1)).all()
    assert turned.view(per_class, CLASSES).tolist() == [list(range(CLASSES))] * per_class


def test_turns_keep_the_images_of_a_class_in_order() -> None:
    labels = torch.tensor([4, 1, 4, 4, 0, 1])
    assert in_turns(labels).tolist() == [4, 1, 0, 5, 2, 3]
