"""What every loss asks of a batch before it computes, and the precision in which it does."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from losses.pairwise import once

__all__ = ["check_embeddings", "exact", "whole_labels"]

WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def exact(tensor: Tensor) -> AbstractContextManager[object]:
    """Inside, nothing is computed in half precision because of autocast on the tensor's device."""
    kind = tensor.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def whole_labels(embeddings: Tensor, labels: Tensor, *, dim: int | None = None, classes: int | None = None) -> Tensor:
    """Labels [B] as int64, once the batch is found to be right.

    The labels' values are only looked at on the CPU, and not in a compiled graph: elsewhere it would mean to wait for
    the device in every step.

    Args:
        embeddings: [B, dim].
        labels: [B], any whole numbers.
        dim: the width that the embeddings should have; None: any.
        classes: the labels should be below this; None: any that are not negative.

    Raises:
        ValueError: what is wrong with the batch, in one sentence.
    """
    check_embeddings(embeddings, dim=dim)
    fault = _fault_of_labels(labels, embeddings.shape[0]) or _fault_of_values(labels, classes)
    if fault:
        raise ValueError(fault)
    return labels if labels.dtype == torch.int64 else once(Tensor.long, labels)


def check_embeddings(embeddings: Tensor, *, dim: int | None = None) -> None:
    """Refuses, with ValueError, what is not floating-point [batch, dim]; None: of any width."""
    if not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be floating-point numbers, not {embeddings.dtype}: use embeddings.float().")
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be [batch, dim], one row per image, not {list(embeddings.shape)}.")
    if dim is not None and embeddings.shape[1] != dim:
        given = embeddings.shape[1]
        raise ValueError(f"the loss was built for embeddings of {dim} dimensions, not {given}: change its Shape.")


def _fault_of_labels(labels: Tensor, images: int) -> str | None:
    if labels.shape != (images,):
        return f"there must be one label per embedding, [{images}], not {list(labels.shape)}."
    if not images:
        return "the batch is empty: a loss needs one image or more."
    if labels.dtype not in WHOLE:
        return f"labels must be the whole numbers of classes, not {labels.dtype}: use labels.long()."
    return None


def _fault_of_values(labels: Tensor, classes: int | None) -> str | None:
    if not labels.is_cpu or torch.compiler.is_compiling():
        return None
    low, high = once(_range, labels)
    if low < 0:
        return f"labels must be 0 or more, not {low}: leave out images without a class."
    if classes is not None and high >= classes:
        return f"labels must be below {classes}, the classes of the loss, not {high}: raise Shape.classes."
    return None


def _range(labels: Tensor) -> tuple[int, int]:
    low, high = labels.aminmax()
    return int(low), int(high)
