"""A loss whose images send each other messages: a network refines the embeddings of a batch by one another."""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn import functional as F

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import single, unit
from losses.shape import Shape
from losses.to_device import uniform
from losses.tuned import Tuned

__all__ = ["intra_batch"]


@checked
def intra_batch(
    shape: Shape,
    *,
    heads: Annotated[int, Ge(1)] = 2,
    steps: Annotated[int, Ge(1)] = 1,
    # The authors' own for four datasets are 0.11, 0.19, 0.2 and 0.6.
    temperature: Annotated[float, Gt(0), Tuned(0.05, 1, log=True)] = 0.2,
    smoothing: Annotated[float, Ge(0), Lt(1)] = 0.1,
    classification: Annotated[float, Ge(0)] = 1.0,
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1,
    read: Literal["last", "all"] = "last",
    variant: Literal["authors", "plain"] = "authors",
) -> nn.Module:
    """Intra-batch connections (Seidenschwarz, Elezi, Leal-Taixé, ICML 2021, arXiv 2102.07753).

    A network refines the L2-normalised embeddings `steps` times. In a step each image attends to all images of the
    batch, itself too: dot-product attention of `heads` heads, each on its share of the dimensions. What it hears is
    added to what it was, and layer-normalised; then two layers, four times as wide with ReLU between, in the same way.
    The loss is the cross-entropy of a linear classifier on the refined embeddings, after the "last" step or of "all",
    side by side, plus `classification` times that of another on the embeddings as given. Both divide their logits by
    `temperature`, and give `smoothing` to all classes in equal parts, the own one among them. At test time the
    embeddings themselves are compared: the network is for training alone.

    `variant`: "authors" is as their code. It has a linear layer before the first step; a logit of 0 in each attention,
    for no image; and before the classifier on refined embeddings, which has no bias and starts small, a batch norm
    without shift. "plain" leaves these three away. `dropout` is of the attention, of the layers between, and of all
    that is added; it is drawn for each batch. The batch norm takes the statistics of the batch, always.

    Defaults as for CUB-200-2011 (6 classes × 9 images per batch); Cars196 (10 × 7): 8 heads, 2 steps, read "all",
    temperature 0.11; In-Shop (14 × 4): 4 heads, temperature 0.19; Stanford Online Products (15 × 6): 8 heads,
    temperature 0.6. The dimensions must be a multiple of the heads. The authors train everything at one rate.

    Trains: the network, which learns at the rate of a head, and two linear classifiers.
    Needs: P × K batches.
    """
    if shape.dim % heads:
        raise ValueError(
            f"intra_batch cannot share {shape.dim} dimensions among {heads} heads: change heads, or recipe.dim."
        )
    authors = variant == "authors"
    return Loss(
        shape,
        _intra_batch,
        classes=shape.classes,
        network=MessagePassing(shape.dim, heads, steps, dropout=dropout, authors=authors, every=read == "all"),
        refined=_classifier(shape.dim * (steps if read == "all" else 1), shape.classes, small=authors),
        given=nn.Linear(shape.dim, shape.classes) if classification else None,
        temperature=temperature,
        smoothing=smoothing,
        classification=classification,
    )


class MessagePassing(nn.Module):
    """Embeddings [B, dim], L2-normalised -> refined ones, [B, dim], or with `every` [B, steps · dim]."""

    learns_as_head = True

    def __init__(self, dim: int, heads: int, steps: int, *, dropout: float, authors: bool, every: bool) -> None:
        super().__init__()
        self.every = every
        self.before = nn.Linear(dim, dim) if authors else None
        last = steps - 1
        # A shift that the batch norm takes away again would train without an effect.
        self.steps = nn.ModuleList(
            Step(dim, heads, dropout=dropout, idle=authors, shift=not authors or step < last) for step in range(steps)
        )
        self.scale = nn.Parameter(torch.ones(dim * (steps if every else 1))) if authors else None

    def forward(self, rows: Tensor) -> Tensor:
        """The rows after the last step, or after all of them, side by side."""
        if self.before is not None:
            rows = _linear(rows, self.before)
        found = []
        for step in self.steps:
            rows = step(rows)
            found.append(rows)
        rows = torch.cat(found, 1) if self.every else rows
        return rows if self.scale is None else batch_normalized(rows) * single(self.scale)


class Step(nn.Module):
    """Rows [B, dim] -> rows [B, dim], each of which has heard all of them."""

    def __init__(self, dim: int, heads: int, *, dropout: float, idle: bool, shift: bool) -> None:
        """A step of so many heads.

        Args:
            dim: a multiple of the heads.
            heads: each attends on its own.
            dropout: share of the numbers that are left out in training.
            idle: whether a part of the attention, at a logit of 0, goes to no row.
            shift: whether the last layer norm has one.
        """
        super().__init__()
        self.heads, self.dropout, self.idle = heads, dropout, idle
        self.query, self.value, self.out = (nn.Linear(dim, dim) for _ in range(3))
        # What a bias of the keys adds is the same for all rows: it counts only beside a logit of 0.
        self.key = nn.Linear(dim, dim, bias=idle)
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.widen, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.heard, self.thought = nn.LayerNorm(dim), nn.LayerNorm(dim, bias=shift)

    def forward(self, rows: Tensor) -> Tensor:
        """Attention, then two layers, each added to what was there and normalised."""
        rows = _layer_normalized(rows + self._drop(self.attend(rows)), self.heard)
        wide = self._drop(F.relu(_linear(rows, self.widen)))
        return _layer_normalized(rows + self._drop(_linear(wide, self.narrow)), self.thought)

    def attend(self, rows: Tensor) -> Tensor:
        """What each row hears, all heads side by side and mixed, [B, dim]."""
        query, key, value = (self._by_head(_linear(rows, layer)) for layer in (self.query, self.key, self.value))
        logits = query @ key.mT / query.shape[2] ** 0.5
        nobody = logits.new_zeros(*logits.shape[:2], 1 if self.idle else 0)
        shares = torch.cat([logits, nobody], 2).softmax(2)[:, :, : len(rows)]
        return _linear((self._drop(shares) @ value).transpose(0, 1).flatten(1), self.out)

    def _by_head(self, rows: Tensor) -> Tensor:
        return rows.view(len(rows), self.heads, -1).transpose(0, 1)

    def _drop(self, values: Tensor) -> Tensor:
        return dropped(values, self.dropout) if self.training and self.dropout else values


def dropped(values: Tensor, share: float) -> Tensor:
    """The values, about this share of them 0, and the others as much larger."""
    return values * (uniform(*values.shape, device=values.device) >= share) / (1 - share)


def batch_normalized(rows: Tensor, eps: float = 1e-5) -> Tensor:
    """Columns of rows [B, dim] at mean 0 and variance 1, where they have any; of a single row all are 0."""
    return (rows - rows.mean(0)) * (rows.var(0, correction=0) + eps).rsqrt()


def _classifier(width: int, classes: int, *, small: bool) -> nn.Linear:
    layer = nn.Linear(width, classes, bias=not small)
    if small:
        nn.init.normal_(layer.weight, std=0.001)
    return layer


def _linear(rows: Tensor, layer: nn.Linear) -> Tensor:
    return F.linear(rows, single(layer.weight), None if layer.bias is None else single(layer.bias))


def _layer_normalized(rows: Tensor, norm: nn.LayerNorm) -> Tensor:
    shift = None if norm.bias is None else single(norm.bias)
    return F.layer_norm(rows, rows.shape[1:], single(norm.weight), shift, norm.eps)


def _intra_batch(
    embeddings: Tensor,
    labels: Tensor,
    *,
    network: MessagePassing,
    refined: nn.Linear,
    given: nn.Linear | None = None,
    temperature: float,
    smoothing: float,
    classification: float,
) -> Tensor:
    # In an order of the images' own, what is dropped does not depend on their order in the batch.
    order = embeddings[:, 0].argsort()
    embeddings, labels = embeddings[order], labels[order]

    def cost(rows: Tensor, classifier: nn.Linear) -> Tensor:
        return F.cross_entropy(_linear(rows, classifier) / temperature, labels, label_smoothing=smoothing)

    loss = cost(network(unit(embeddings)), refined)
    return loss if given is None else loss + classification * cost(embeddings, given)
