"""Whitening learned on the training images: what is done at test time to embeddings that are trained already."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from bench.job.fusion import (
    Stored,
    check_same_images,
    each_part,
    principal_components,
    side_by_side,
    training_images,
    unit_rows,
)
from losses.shape import Unsuitable

__all__ = ["whitened"]


def whitened(members: Sequence[Stored], *, dim: Annotated[int, Ge(1)] | None = None) -> Stored:
    """PCA whitening of the concatenation, learned on the training images (Jégou, Chum, ECCV 2012).

    Every member L2-normalised and all side by side, one member alone too. From each row x of norm 1 the mean m of the
    training rows is taken; entry i of the result is u_i · (x - m) / s_i, where u_i is the i-th principal direction of
    the training rows and s_i their standard deviation along it. The result [N, dim] is L2-normalised again. A row of
    zeros stays zero.

    The paper keeps a chosen number of directions, as `dim` does. Without `dim` all are kept but those without variance,
    where the standard deviation is within the rounding of single precision: these are left out, as nothing can be
    divided by it. The paper learns on an independent set, here it is the training images that the members stored. No
    label is used.

    Raises:
        ValueError: where `concatenate` does, and for a `dim` beyond the width of the concatenation.
        Unsuitable: a member stored no training images, or these are too few or vary in too few directions.
    """
    check_same_images(members)
    training_images(members)
    whole = side_by_side(members, np.ones(len(members)))
    (training,) = training_images([whole])
    directions, variances = principal_components(training, _kept(training, dim))
    spread = np.sqrt(np.maximum(variances, 0))
    varied = spread > np.finfo(np.float32).eps
    if not varied.any() or (dim is not None and not varied.all()):
        found = f"in {varied.sum()} directions only" if varied.any() else "in no direction"
        advice = "lower dim" if varied.any() else "train the members anew, on more images"
        raise Unsuitable(f"the {len(training)} training images vary {found}: {advice}.")
    mean, scaled = training.mean(0, dtype=np.float64), directions[:, varied] / spread[varied]

    def white(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        there = rows.any(axis=1, keepdims=True)
        return (unit_rows((rows - mean) @ scaled) * there).astype(np.float32)

    return each_part([whole], lambda parts: white(parts[0]))


def _kept(training: NDArray[np.float32], dim: int | None) -> int:
    """How many directions are asked for, of training images [M, width] that suffice for them."""
    count, width = map(int, training.shape)
    if dim is None:
        if count <= width:
            raise Unsuitable(
                f"{count} training images are too few to whiten {width} dimensions: set dim below {count}."
            )
        return width
    if dim > width:
        raise ValueError(f"dim = {dim} is more than the {width} dimensions of the members: lower it.")
    if dim >= count:
        raise Unsuitable(f"{count} training images are too few to find dim = {dim} directions: lower it.")
    return dim
