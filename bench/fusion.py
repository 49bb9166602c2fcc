"""Model ensembles: the stored embeddings of models trained apart, fused without training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["concatenate"]


def concatenate(embeddings: Sequence[NDArray[np.floating]]) -> NDArray[np.float32]:
    """Concatenation of the members' embeddings, each L2-normalised.

    From [N, d_i] of each member to [N, sum of d_i], rows of norm 1, so that squared distances are the mean of the
    members'. Raises ValueError where there is no member or they do not hold the same images.
    """
    rows = {len(member) for member in embeddings}
    if len(rows) != 1:
        raise ValueError(f"a model ensemble fuses embeddings of the same images, not of {sorted(rows)}: check them.")
    return _normalized(np.concatenate([_normalized(member) for member in embeddings], axis=1)).astype(np.float32)


def _normalized(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = np.asarray(embeddings, dtype=np.float64)
    # A row of zeros has no direction: it stays zero instead of turning into NaN.
    norms: NDArray[np.float64] = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.maximum(norms, np.finfo(np.float64).tiny)
