"""The MultiModal loss against plain loops and its own special cases."""

import math

import pytest
import torch
from support.sample_batches import CLASSES, shape
from torch import Tensor
from torch.nn import functional as F

from losses.modalities import multimodal, multimodal_logits, multimodal_loss
from losses.shape import Shape, Unsuitable

MODALITIES, PROXIES, GAMMA = 3, 4, 0.1


def sample(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities of three modalities, labels, and proxies with entries of both signs."""
    generator = torch.Generator().manual_seed(seed)
    decided = torch.randn(5, MODALITIES, CLASSES, generator=generator, dtype=torch.float64).softmax(2)
    proxies = torch.randn(MODALITIES * CLASSES, CLASSES * PROXIES, generator=generator, dtype=torch.float64)
    return decided.view(5, -1), torch.randint(CLASSES, (5,), generator=generator), proxies


def loop_logits(row: list[float], proxies: list[list[float]], modalities: int, gamma: float) -> list[float]:
    """The logits of one image; proxies are columns, class by class."""
    classes = len(row) // modalities
    each = len(proxies[0]) // classes
    columns = [[max(entry[q], 0.0) for entry in proxies] for q in range(len(proxies[0]))]
    columns = [[x / (math.hypot(*column) or 1.0) for x in column] for column in columns]
    cosine = [sum(a * b for a, b in zip(row, column, strict=True)) / math.hypot(*row) for column in columns]
    power = [math.exp(c / gamma) for c in cosine]
    attended = [
        sum(p * column[v] for p, column in zip(power, columns, strict=True)) / sum(power) for v in range(len(row))
    ]
    logits = []
    for c in range(classes):
        logit = sum(row[m * classes + c] * (1 + attended[m * classes + c]) for m in range(modalities))
        for k in range(each):
            logit += cosine[c * each + k] * power[c * each + k] / sum(power[k::each])
        logits.append(logit)
    return logits


@pytest.mark.parametrize("seed", range(3))
def test_logits_agree_with_plain_loops(seed: int) -> None:
    decided, labels, proxies = sample(seed)
    proxies[:, 2] = -1  # a proxy with no positive entry is similar to nothing
    expected = [loop_logits(row, proxies.tolist(), MODALITIES, GAMMA) for row in decided.tolist()]
    logits = multimodal_logits(decided, proxies, modalities=MODALITIES, gamma=GAMMA)
    torch.testing.assert_close(logits, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12)
    loss = multimodal_loss(decided, labels, proxies, modalities=MODALITIES, gamma=GAMMA)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels), rtol=1e-12, atol=1e-12)


def test_gradients_agree_with_finite_differences() -> None:
    decided, labels, proxies = sample()

    def loss(decided: Tensor, proxies: Tensor) -> Tensor:
        return multimodal_loss(decided, labels, proxies, modalities=MODALITIES, gamma=GAMMA)

    assert torch.autograd.gradcheck(loss, (decided.requires_grad_(), proxies.requires_grad_()))


def test_without_a_useful_proxy_the_decisions_are_summed() -> None:
    decided, _, proxies = sample()
    logits = multimodal_logits(decided, -proxies.abs(), modalities=MODALITIES, gamma=GAMMA)
    torch.testing.assert_close(logits, decided.view(5, MODALITIES, CLASSES).sum(1))


def test_the_order_of_the_modalities_does_not_matter() -> None:
    decided, _, proxies = sample()
    order = torch.tensor([2, 0, 1])
    turned = proxies.view(MODALITIES, CLASSES, -1)[order].reshape(proxies.shape)
    other = decided.view(5, MODALITIES, CLASSES)[:, order].reshape(decided.shape)
    options = {"modalities": MODALITIES, "gamma": GAMMA}
    torch.testing.assert_close(
        multimodal_logits(other, turned, **options), multimodal_logits(decided, proxies, **options)
    )


@pytest.mark.parametrize(("dim", "modalities", "widths"), [(16, 2, [8, 8]), (16, 3, [6, 5, 5]), (5, 5, [1] * 5)])
def test_each_modality_decides_on_a_slice_of_its_own(dim: int, modalities: int, widths: list[int]) -> None:
    module = multimodal(Shape(dim, CLASSES), modalities=modalities, proxies_per_class=PROXIES).double()
    weight, bias, proxies = module.parameters()
    embeddings, labels = torch.randn(7, dim, dtype=torch.float64), torch.arange(7) % CLASSES
    starts = [sum(widths[:m]) for m in range(modalities)]
    decided = [
        (embeddings[:, s : s + w] @ weight[:, s : s + w].T + bias[m]).softmax(1)
        for m, (s, w) in enumerate(zip(starts, widths, strict=True))
    ]
    expected = multimodal_loss(torch.cat(decided, 1), labels, proxies, modalities=modalities, gamma=0.1)
    torch.testing.assert_close(module(embeddings, labels), expected)


def test_fewer_dimensions_than_modalities_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot cut 16 dimensions into 17 modalities"):
        multimodal(shape(), modalities=17)


def test_more_proxies_than_fit_in_memory_do_not_suit_the_dataset() -> None:
    with pytest.raises(Unsuitable, match="5,123,884,960 numbers"):
        multimodal(Shape(128, 11_318))
