"""Plugins for tests: files with real functions, one of each kind of part."""

from pathlib import Path

LOSS = '''
from torch.nn import functional as F

from losses.module import Loss


def sigmoid_pairs(shape, *, scale: float = 10.0):
    """Sigmoid of pairs (after Zhai et al., ICCV 2023)."""
    return Loss(shape, _sigmoid_pairs, scale=scale)


def _sigmoid_pairs(embeddings, labels, *, scale):
    similar = F.normalize(embeddings) @ F.normalize(embeddings).T
    return F.binary_cross_entropy_with_logits(scale * similar, (labels[:, None] == labels).to(embeddings))
'''

ALL_KINDS = (
    LOSS
    + '''
from typing import Annotated

import numpy as np
from annotated_types import Gt
from torch import nn

from bench.datasets.split import Images, Split
from losses import sum as added


def halves(shape, members, *, share: Annotated[float, Gt(0)] = 0.5):
    """Two members, weighted."""
    return added(shape, members, weights=(share, 1 - share))


def tiny_trunk(channels, *, width: int = 8):
    """One convolution."""
    return nn.Sequential(nn.Conv2d(channels, width, 5, stride=2), nn.ReLU())


def stripes(data, *, classes: int = 8):
    """Noisy stripes, one frequency per class."""
    return Split(_side(0, classes), _side(classes, classes))


def _side(first, count):
    random = np.random.default_rng(first)
    waves = [np.sin(np.arange(32) * (first + one + 2) / 9) for one in range(count) for _ in range(6)]
    noisy = np.stack(waves)[:, None, :, None] + random.normal(size=(6 * count, 32, 32, 1))
    images = np.clip(128 + 50 * noisy, 0, 255).astype(np.uint8)
    return Images(images, np.repeat(np.arange(count), 6), tuple(f"stripe {first + one}" for one in range(count)))


def brightness(split, *, power: float = 1.0):
    """Mean brightness of every column."""
    parts = [split.test.images, *([split.gallery.images] if split.gallery else [])]
    return (np.concatenate(parts).mean(axis=(1, 3)) / 255) ** power


def first_only(members):
    """The first member alone."""
    return members[0]


def half_recall(ranking):
    """Half recall (mine)."""
    return (ranking.first_hit == 1) / 2


def half_recall_at(ranking, k):
    """Half recall@K (mine)."""
    return ((ranking.first_hit > 0) & (ranking.first_hit <= k)) / 2


def purity(clustering):
    """Purity (mine)."""
    counts = np.zeros((clustering.assignment.max() + 1, clustering.labels.max() + 1))
    np.add.at(counts, (clustering.assignment, clustering.labels), 1)
    return counts.max(axis=1).sum() / len(clustering.labels)
'''
)

OF_VECTORS = '''
import numpy as np
from torch import nn

from bench.datasets.split import Images, Split


def blobs(data, *, classes: int = 12):
    """Points around a centre for each class."""
    return Split(_side(0, classes), _side(classes, classes))


def _side(first, count):
    random = np.random.default_rng(first)
    centres = random.normal(size=(count, 1, 6))
    points = (centres + 0.3 * random.normal(size=(count, 8, 6))).reshape(-1, 6).astype(np.float32)
    return Images(points, np.repeat(np.arange(count), 8), tuple(f"blob {first + one}" for one in range(count)))


def wider(width, *, factor: int = 2):
    """One layer on vectors."""
    return nn.Sequential(nn.Linear(width, factor * width), nn.ReLU())


def largest(features, *, count: int = 3):
    """The largest features."""
    parts = [features.test.images, *([features.gallery.images] if features.gallery else [])]
    return np.concatenate(parts)[:, :count]
'''


def plugin_file(folder: Path, text: str = LOSS, name: str = "my_losses.py") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file
