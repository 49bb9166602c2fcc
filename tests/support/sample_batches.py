"""Batches, and what tests of losses do with them."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.distances import LpDistance
from torch import Tensor, nn
from torch.nn import functional as F

from losses.shape import Shape

SHARED = Path(os.environ.get("BENCH_SHARED") or Path(__file__).parents[2] / "../shared")
GOLDEN = Path(os.environ.get("BENCH_GOLDEN") or SHARED / "golden")
DIM, CLASSES = 16, 6

Loss = Callable[[Shape], nn.Module]


def shape(dim: int = DIM) -> Shape:
    return Shape(dim, CLASSES, F.normalize(torch.randn(CLASSES, 12)))


def build(loss: Loss, dtype: torch.dtype = torch.float64, *, dim: int = DIM) -> nn.Module:
    torch.manual_seed(7)
    return loss(shape(dim)).to(dtype)


def batch(*, seed: int = 0, per_class: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Raw embeddings, of norms far from 1, and labels in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(per_class)[torch.randperm(CLASSES * per_class, generator=generator)]
    centres = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    embeddings = centres[labels] + 2 * torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    return embeddings.to(dtype), labels


def value_and_gradients(module: nn.Module, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    embeddings = embeddings.clone().requires_grad_()
    value = module(embeddings, labels)
    wanted = [embeddings, *module.parameters()]
    return value.detach(), list(torch.autograd.grad(value, wanted))


def assert_same(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def loop_distance(a: Tensor, b: Tensor, *, squared: bool) -> float:
    square = sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return square if squared else square**0.5


def golden(name: str) -> list[Path]:
    return sorted(GOLDEN.glob(f"{name}_case*.npz"))


def error(ours: Tensor, stored: NDArray[np.float64]) -> float:
    return float(np.abs(ours.numpy() - stored).max() / max(np.abs(stored).max(), 1e-3))


class Mined(nn.Module):
    """A loss of pytorch-metric-learning on what one of its miners keeps."""

    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, labels, self.miner(embeddings, labels))


def euclidean(*, squared: bool) -> LpDistance:
    return LpDistance(power=2 if squared else 1)
