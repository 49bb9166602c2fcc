"""Losses that pull images to the centre of their class and push nothing apart."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from losses.arguments import checked
from losses.batch_checks import exact, whole_labels
from losses.pairwise import single
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["center"]


@checked
def center(
    shape: Shape,
    *,
    # The paper compares 0.01 to 1.
    rate: Annotated[float, Gt(0), Le(1), Tuned(0.05, 1, log=True)] = 0.5,
    update: Literal["average", "gradient"] = "average",
) -> nn.Module:
    """Center (Wen, Zhang, Li, Qiao, ECCV 2016).

    The mean squared Euclidean distance of the embeddings, as given, from the centres of their classes. After each
    batch of a training the centre of every class in it moves by `rate` times the sum of the differences of its images
    from it, divided by one more than their number, as in the paper: the optimizer knows nothing of the centres. With
    `update` "gradient" they are parameters instead, as in the code that is mostly used, and `rate` has no effect.
    Centres start at random, about 1 long.

    That makes a class compact but does not part classes: the paper adds it to the softmax, here as members of `sum`.
    There it has half the sum instead of the mean, weighted 0.003, which is 0.0015 times the batch size here.
    """
    centers = torch.randn(shape.classes, shape.dim) / shape.dim**0.5
    return _Center(nn.Parameter(centers) if update == "gradient" else centers, rate)


def center_loss(embeddings: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """Mean squared distance of embeddings [B, dim] from the centers [classes, dim] of their labels [B], a scalar."""
    return (embeddings - centers[labels]).square().sum(1).mean()


def center_steps(embeddings: Tensor, labels: Tensor, centers: Tensor) -> Tensor:
    """What the paper subtracts from the centers [classes, dim] after a batch, before its rate; 0 for other classes."""
    own = (torch.arange(len(centers), device=labels.device)[:, None] == labels).to(centers.dtype)
    count = own.sum(1, keepdim=True)
    return (count * centers - own @ embeddings) / (1 + count)


class _Center(nn.Module):
    centers: Tensor

    def __init__(self, centers: Tensor, rate: float) -> None:
        super().__init__()
        self.rate = rate
        if isinstance(centers, nn.Parameter):
            self.centers = centers
        else:
            self.register_buffer("centers", centers)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        classes, dim = self.centers.shape
        labels = whole_labels(embeddings, labels, dim=dim, classes=classes)
        with exact(embeddings):
            points, centers = single(embeddings), single(self.centers)
            if self.training and not isinstance(self.centers, nn.Parameter):
                self.move(points.detach().to(centers.dtype), labels, centers)
            return center_loss(points, labels, centers)

    def extra_repr(self) -> str:
        """Its settings, and the size of the centres."""
        update = "gradient" if isinstance(self.centers, nn.Parameter) else "average"
        return f"rate={self.rate}, update={update!r}, centers={list(self.centers.shape)}"

    def _get_name(self) -> str:
        return "center"

    def move(self, points: Tensor, labels: Tensor, centers: Tensor) -> None:
        """Moves the centres towards a batch; a new tensor, since the loss of the batch still needs the old one."""
        moved = centers - self.rate * center_steps(points, labels, centers)
        self.centers = moved.to(self.centers.dtype)
