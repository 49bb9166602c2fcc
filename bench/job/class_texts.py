"""Class texts as vectors, for losses that look at a second modality."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_vectors"]


def class_vectors(texts: Sequence[str], encoder: str = "tfidf") -> Tensor:
    """One unit vector per text: float32 [texts, width], on the processor.

    Args:
        texts: one per class.
        encoder: "tfidf" for TF-IDF of character n-grams (2 to 4, within words), which sees spelling only; or the name
            or local path of a sentence-transformers model, which sees meaning.

    Raises:
        ValueError: sentence-transformers is not installed, or cannot load that model.
    """
    return _tfidf(texts) if encoder == "tfidf" else _sentences(tuple(texts), encoder)


def _tfidf(texts: Sequence[str]) -> Tensor:
    from sklearn.feature_extraction.text import TfidfVectorizer  # half a second, which most jobs need not wait

    weights = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(texts)
    return torch.from_numpy(weights.toarray()).float()


@lru_cache(maxsize=4)  # a worker runs many jobs, and the model is slow to load
def _sentences(texts: tuple[str, ...], encoder: str) -> Tensor:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise ValueError(
            f"recipe.text = {encoder!r} names a sentence-transformers model, and that package is not installed:"
            " pip install 'lossbench[text]', or set recipe.text to 'tfidf'."
        ) from None
    try:
        # On the processor, so that the vectors are the same whatever device trains.
        model = SentenceTransformer(encoder, device="cpu")
    except Exception as error:  # of many types: no such folder, no such model, no network, not a model at all
        raise ValueError(
            f"recipe.text = {encoder!r} is no model that sentence-transformers can load ({_first_line(error)}):"
            " name one of the Hugging Face hub, or the path of a folder that holds one."
        ) from error
    vectors = model.encode(list(texts), convert_to_numpy=True, show_progress_bar=False)
    return F.normalize(torch.from_numpy(vectors).float())


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
