"""Losses that classify over the images of the batch itself; none has parameters to train."""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.module import Loss
from losses.pairwise import (
    References,
    distances,
    first_two,
    log_one_plus_sum,
    log_sum,
    mean_of,
    pairs,
    similarities,
    single,
    softplus,
    unit,
)
from losses.shape import Shape
from losses.tuned import Tuned

__all__ = ["n_pair", "nca", "nt_xent", "sup_con"]


@checked
def n_pair(shape: Shape, *, l2: Annotated[float, Ge(0), Tuned(0.002, 0.2, log=True)] = 0.02) -> nn.Module:
    """N-pair (Sohn, NeurIPS 2016).

    N-pair-mc: the first two images of each class, in batch order, are an anchor and its positive; other images are not
    used. An anchor picks its positive among the positives of all classes, by softmax of the inner products of the
    embeddings as given, not normalised. As in the paper their squared norms are kept small instead, with the weight
    `l2`; 0.02 is that of arXiv 2107.01130. pytorch-metric-learning normalises and has no such term.

    Needs: P × K batches.
    """
    return Loss(shape, _n_pair, l2=l2)


@checked
def nt_xent(shape: Shape, *, temperature: Annotated[float, Gt(0), Tuned(0.03, 1, log=True)] = 0.1) -> nn.Module:
    """NT-Xent (SimCLR: Chen, Kornblith, Norouzi, Hinton, ICML 2020, arXiv 2002.05709).

    Each positive pair is a softmax of its own: the anchor picks the positive among that positive and all its negatives,
    by cosine similarity over `temperature`. Other positives of the anchor, of which SimCLR has none, are left out.
    0.1 is the temperature of the authors' code; pytorch-metric-learning takes 0.07.

    Needs: P × K batches.
    """
    return Loss(shape, _nt_xent, temperature=temperature)


@checked
def sup_con(shape: Shape, *, temperature: Annotated[float, Gt(0), Tuned(0.03, 1, log=True)] = 0.1) -> nn.Module:
    """SupCon (Khosla, Teterwak, Wang, Sarna, Tian, Isola, Maschinot, Liu, Krishnan, NeurIPS 2020, arXiv 2004.11362).

    Softmax over all other images of the batch, by cosine similarity over `temperature`; an anchor costs the mean
    negative log-likelihood of its positives (the paper's "out" form, averaged over the anchors that have a positive
    instead of summed). pytorch-metric-learning gives 0 for a batch of one class; here, as in the paper, its images
    still share their likelihood out evenly.

    Needs: P × K batches.
    """
    return Loss(shape, _sup_con, temperature=temperature)


@checked
def nca(
    shape: Shape, *, scale: Annotated[float, Gt(0), Tuned(1, 32, log=True)] = 1.0, normalize: bool = True
) -> nn.Module:
    """NCA (Goldberger, Roweis, Hinton, Salakhutdinov, NeurIPS 2004).

    Each image picks a neighbour among all others, by softmax of minus `scale` times the squared Euclidean distance; the
    loss is -log of the chance that the neighbour is of its class, averaged over the images that have a positive. The
    distances are those of the L2-normalised embeddings, as in most later use, or, without `normalize`, of the
    embeddings as given, as in the paper, where the learned map sets the scale. pytorch-metric-learning drops images
    whose chance rounds to 0; here they count.

    Needs: P × K batches.
    """
    return Loss(shape, _nca, scale=scale, normalize=normalize)


def n_pair_loss(anchors: Tensor, positives: Tensor, *, l2: float = 0.0, kept: Tensor | None = None) -> Tensor:
    """N-pair-mc of q pairs of different classes, a scalar; 0, with a graph, where there is none.

    Anchors and positives [q, dim] are used as given; only pairs in the mask `kept` [q] count, by default all.
    """
    kept = torch.ones(len(anchors), dtype=torch.bool, device=anchors.device) if kept is None else kept
    similarity = anchors @ positives.T
    others = kept.repeat(len(kept), 1).fill_diagonal_(False)
    cost = log_one_plus_sum(similarity - similarity.diagonal()[:, None], others)
    norms = anchors.square().sum(1) + positives.square().sum(1)
    return mean_of(cost + l2 * norms, kept)


def _n_pair(embeddings: Tensor, labels: Tensor, *, l2: float) -> Tensor:
    second, first = first_two(labels)
    return n_pair_loss(embeddings, embeddings[second], l2=l2, kept=first)


def _nt_xent(embeddings: Tensor, labels: Tensor, references: References | None = None, *, temperature: float) -> Tensor:
    logits = similarities(embeddings, references) / temperature
    positive, negative = pairs(labels, references)
    return mean_of(softplus(log_sum(logits, negative)[:, None] - logits), positive)


def _sup_con(embeddings: Tensor, labels: Tensor, references: References | None = None, *, temperature: float) -> Tensor:
    logits = similarities(embeddings, references) / temperature
    positive, negative = pairs(labels, references)
    cost = (log_sum(logits, positive | negative)[:, None] - logits).masked_fill(~positive, 0)
    return mean_of(cost.sum(1) / positive.sum(1).clamp(min=1), positive.any(1))


def _nca(
    embeddings: Tensor, labels: Tensor, references: References | None = None, *, scale: float, normalize: bool
) -> Tensor:
    scaled = unit if normalize else single
    points = scaled(embeddings)
    others = scaled(references.embeddings) if references else points
    logits = -scale * distances(points, others, squared=True)
    positive, negative = pairs(labels, references)
    return mean_of(softplus(log_sum(logits, negative) - log_sum(logits, positive)), positive.any(1))
