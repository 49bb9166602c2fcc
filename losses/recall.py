"""A loss that approximates the recall among the first few of every image of the batch as a query; nothing trains."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import References, mean_of, pairs, similarities, single, unit
from losses.shape import Shape
from losses.soft_counts import listed, one_by_one
from losses.to_device import sent, uniform
from losses.tuned import Tuned

__all__ = ["recall_at_k_surrogate"]


@checked
def recall_at_k_surrogate(
    shape: Shape,
    *,
    k: tuple[Annotated[int, Ge(1)], ...] = (1, 2, 4, 8, 16),
    k_temperatures: tuple[Annotated[float, Gt(0)], ...] | None = None,
    temperature: Annotated[float, Gt(0), Tuned(0.003, 0.1, log=True)] = 0.01,
    simix: bool = False,
    count_query: bool = True,
    normalize: bool = True,
) -> nn.Module:
    """Recall@k surrogate, RS@k (Patel, Tolias, Matas, CVPR 2022, arXiv 2108.11179).

    1 - recall@k, averaged over the cut-offs `k`. The rank of a positive is 1 plus the others before it, each counted by
    a sigmoid of the difference of their similarities with the query over `temperature`; a positive is among the first k
    by a sigmoid of k - rank over its own of `k_temperatures`, one per cut-off, default 1 each. At most k count, of k or
    of all positives if they are fewer; a k above the number of images that are compared counts as that number. Cosine
    similarities, or, without `normalize`, inner products. The mean is over the queries that have a positive; classes
    may differ in size, which in the authors' code they may not.

    `simix` adds similarity mixup, SiMix: for every two images of a class in the batch a virtual one between their
    L2-normalised embeddings, at a place drawn anew from 0 to 1, which is query and positive like the others. They are
    not normalised again. The authors' code does so for 3, 4 or 6 images per class only.

    With `count_query`, as in the authors' code, a query is counted before each of its own positives: ranks start near 2
    and the values are higher. Without, as recall is defined, it is left out of its ranking. Time grows with the square
    of the batch times the size of the largest class, memory with the square, virtual images included.
    Raises ValueError for no cut-off at all, or temperatures that do not fit the cut-offs.

    Needs: P × K batches.
    """
    temperatures = (1.0,) * len(k) if k_temperatures is None else tuple(k_temperatures)
    if not k:
        raise ValueError("recall_at_k_surrogate has no cut-off: give one number or more in k.")
    if len(temperatures) != len(k):
        raise ValueError(f"there are {len(temperatures)} k_temperatures for {len(k)} cut-offs in k: give one for each.")
    return Loss(
        shape,
        _recall_at_k_surrogate,
        k=tuple(k),
        k_temperatures=temperatures,
        temperature=temperature,
        simix=simix,
        count_query=count_query,
        normalize=normalize,
    )


class Mixes(NamedTuple):
    """Virtual images, each between two images of one class."""

    first: Tensor
    """[V], rows of the batch."""
    second: Tensor
    """[V]."""
    share: Tensor
    """[V], from 0 to 1, of the first; the second has the rest."""


def drawn(labels: Tensor) -> Mixes:
    """One virtual image for every two images of a class, by labels [B]; where between the two, is drawn."""
    first, second = pairs(labels)[0].triu().nonzero(as_tuple=True)
    return Mixes(first, second, uniform(len(first), device=labels.device))


def recall_at_k_loss(
    points: Tensor,
    labels: Tensor,
    references: References | None = None,
    mixes: Mixes | None = None,
    *,
    k: Sequence[int] = (1, 2, 4, 8, 16),
    k_temperatures: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0),
    temperature: float = 0.01,
    count_query: bool = True,
) -> Tensor:
    """1 - recall@k of points [B, dim] with labels [B], a scalar, by inner products.

    `mixes` adds virtual images; other parameters as in `recall_at_k_surrogate`.
    """
    compared = len(labels if references is None else references.labels)
    if mixes:
        points, labels, references = _extended(points, labels, references, mixes)
    positive, negative = pairs(labels, references)
    logits = similarities(points, references, normalize=False) / temperature
    if not count_query:
        # The lowest number, not -inf, whose difference with itself is no number.
        logits = logits.masked_fill(~(positive | negative), torch.finfo(logits.dtype).min)
    place, there = listed(positive)
    (before,) = one_by_one(_before, place, logits)
    cuts = torch.tensor([[min(each, compared) for each in k], k_temperatures], dtype=before.dtype)
    first, softness = sent(cuts, before.device)
    hits = torch.sigmoid((first - (1 + before)[:, :, None]) / softness).masked_fill(~there[:, :, None], 0).sum(1)
    recall = torch.minimum(hits, first) / torch.minimum(first, there.sum(1, keepdim=True).clamp(min=1))
    return mean_of(1 - recall.mean(1), there.any(1))


def _recall_at_k_surrogate(
    embeddings: Tensor,
    labels: Tensor,
    references: References | None = None,
    *,
    k: Sequence[int],
    k_temperatures: Sequence[float],
    temperature: float,
    simix: bool,
    count_query: bool,
    normalize: bool,
) -> Tensor:
    scaled = unit if normalize else single
    return recall_at_k_loss(
        scaled(embeddings),
        labels,
        references and references._replace(embeddings=scaled(references.embeddings)),
        drawn(labels) if simix else None,
        k=k,
        k_temperatures=k_temperatures,
        temperature=temperature,
        count_query=count_query,
    )


def _extended(
    points: Tensor, labels: Tensor, references: References | None, mixes: Mixes
) -> tuple[Tensor, Tensor, References | None]:
    """The batch, and what it is compared with, with the virtual images at their ends."""
    share = mixes.share.to(points)[:, None]
    virtual, classes = share * points[mixes.first] + (1 - share) * points[mixes.second], labels[mixes.first]
    if references:
        own = len(references.labels) + torch.arange(len(classes), device=classes.device)
        references = References(
            torch.cat([references.embeddings, virtual]),
            torch.cat([references.labels, classes]),
            torch.cat([references.own, own]),
        )
    return torch.cat([points, virtual]), torch.cat([labels, classes]), references


def _before(logits: Tensor, nth: Tensor) -> tuple[Tensor]:
    """How many images come before the image `nth` of each query, softly: [B]."""
    # The image itself counts one half in the sum.
    return (torch.sigmoid(logits - logits.gather(1, nth[:, None])).sum(1) - 0.5,)
