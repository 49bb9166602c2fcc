"""Class texts as vectors, for losses that look at a second modality."""

from collections.abc import Sequence

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

__all__ = ["class_vectors"]


def class_vectors(texts: Sequence[str]) -> Tensor:
    """TF-IDF of character n-grams (2 to 4, within words), one unit vector a text: float32 [texts, n-grams]."""
    weights = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(texts)
    return torch.from_numpy(weights.toarray()).float()
