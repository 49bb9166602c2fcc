"""Features of a frozen trunk: every picture goes through it once, and jobs train heads on what is kept in the cache.

The cache may be written by several processes at once: each computes chunks that are not there yet, and the same chunk
has the same numbers whoever computes it. A process that is killed loses the chunk that it was at.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from bench.datasets.files.scratch import SCRATCH, unwritable
from bench.datasets.split import Images, Split
from bench.job.augment import Distortion, affine
from bench.job.batches import Reader, distortion, example, reader, seen
from bench.job.network import Embedder, embedder_for
from bench.job.weights import sha_of
from bench.matrix.cache_folder import cache_folder
from bench.matrix.job import Job, Part
from bench.matrix.recipe import Recipe
from bench.matrix.seeds import derive

__all__ = ["Features", "Tell", "features", "probe"]

LAYOUT = 1
META = "features.json"
PARTS = ("train", "test", "gallery")
CHUNK = 512
"""Pictures that are computed and kept together."""
BATCH = 64
"""Pictures that go through the trunk together."""

Tell = Callable[[int, int], None]
"""Told how many pictures are through the trunk, and of how many."""


class Features(NamedTuple):
    """What a frozen trunk makes of a split."""

    split: Split
    """Its pictures are vectors [N, width]."""
    widths: tuple[int, ...]
    """Of the trunk's levels, which stand side by side in the vectors."""
    views: NDArray[np.float32] | None
    """[views · training pictures, width]: the first view of all, then the second; None where none are kept."""
    parameters: int
    """Of the trunk."""
    weights_sha: str
    """SHA-256 of its weights."""


class Kept(BaseModel):
    """features.json of a folder in the cache."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shapes: dict[str, tuple[int, int]]
    widths: tuple[int, ...]
    parameters: int
    weights_sha: str


class _Piece(NamedTuple):
    """Pictures that go through the trunk the same way."""

    name: str
    pictures: int
    see: Callable[[Tensor], Tensor]
    """From rows [B] to what the trunk sees, float [B, C, H, W]."""


def features(job: Job, split: Split, device: torch.device, tell: Tell = lambda _done, _of: None) -> Features:
    """The features of the job's trunk, from the cache or computed and kept there.

    They depend on the data, the weights, the crop, the views and the kind of device; jobs that differ in other things
    share them.

    Args:
        job: its backbone is frozen, or pretrained.
        split: of its dataset.
        device: that computes what is not kept yet.
        tell: told how far it is.

    Raises:
        DataError: the cache cannot be written.
    """
    views = int(job.backbone.parameters.get("views", 0))
    trunk = _trunk_alone(job.backbone)
    how = distortion(job.recipe) if views else None
    identity = [LAYOUT, trunk.identity(), job.recipe.crop, views, how, split.sha, device.type]
    name = f"features-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]}"
    root = cache_folder()
    kept = _read(root / name, split)
    if kept is None:
        shutil.rmtree(root / name, ignore_errors=True)  # what cannot be read
        torch.manual_seed(0)  # where the trunk has no weights of its own
        model = embedder_for(trunk, example(split.train, crop=job.recipe.crop), 1).to(device)
        failure = _keep(root / name, model, _pieces(job.recipe, views, split, device), tell)
        kept = _read(root / name, split)  # this process's, or that of another one which was quicker
        if kept is None:
            raise unwritable(root, failure or FileNotFoundError(f"{name} is gone"))
    return kept


def probe(job: Job, split: Split) -> Features:
    """As `features` gives them, but all zeros: builds the trunk and computes nothing.

    Raises:
        ValueError: the trunk cannot be built as asked.
    """
    model = embedder_for(_trunk_alone(job.backbone), example(split.train, crop=job.recipe.crop), 1)
    parts = {
        part: np.broadcast_to(np.zeros(1, np.float32), (len(images.labels), model.dim))
        for part, images in _parts(split).items()
    }
    return _assembled(split, parts, _described(model))


def _trunk_alone(backbone: Part) -> Part:
    """The backbone without what comes behind its pooling, or decides only how it learns."""
    behind = {"norm": "none", "head": "none", "hidden": None}
    learning = {"frozen": False, "frozen_batch_norm": False, "freeze_stages": 0, "views": 0}
    return backbone.model_copy(update={"parameters": backbone.parameters | behind | learning})


def _parts(split: Split) -> dict[str, Images]:
    return {name: part for name, part in zip(PARTS, split[:3], strict=True) if part is not None}


def _pieces(recipe: Recipe, views: int, split: Split, device: torch.device) -> list[_Piece]:
    """The parts of the split as at test time, and the views of its training pictures."""
    parts = {name: reader(part.images, device) for name, part in _parts(split).items()}
    pieces = [
        _Piece(name, len(part.labels), partial(_plain, parts[name], recipe.crop))
        for name, part in _parts(split).items()
    ]
    if views:
        count = len(split.train.labels)
        pieces.append(_Piece("views", views * count, partial(_view, parts["train"], distortion(recipe), count)))
    return pieces


def _plain(read: Reader, crop: int | None, rows: Tensor) -> Tensor:
    return seen(read(rows), crop)


def _view(read: Reader, how: Distortion, count: int, rows: Tensor) -> Tensor:
    """Views by their rows, the first ones of all `count` pictures first; a chunk of rows has draws of its own."""
    draws = torch.Generator().manual_seed(derive(int(rows[0]), "view"))
    return affine(read(rows % count), draws, how)


def _keep(folder: Path, model: Embedder, pieces: Sequence[_Piece], tell: Tell) -> OSError | None:
    """Fill a draft of the folder and rename it; why that was not possible."""
    draft = folder.with_name(f"{SCRATCH}{folder.name}")
    try:
        _fill(draft, model, pieces, tell)
        draft.rename(folder)
    except OSError as error:
        if folder.exists():
            shutil.rmtree(draft, ignore_errors=True)
        return error
    return None


def _fill(draft: Path, model: Embedder, pieces: Sequence[_Piece], tell: Tell) -> None:
    """Compute what the draft does not hold yet, in an order of this process's own."""
    draft.mkdir(parents=True, exist_ok=True)
    shapes = {piece.name: (piece.pictures, model.dim) for piece in pieces}
    arrays = {name: _array(draft / f"{name}.npy", shape, np.float32) for name, shape in shapes.items()}
    starts = {piece.name: range(0, piece.pictures, CHUNK) for piece in pieces}
    done = {name: _array(draft / f"{name}.done.npy", (len(chunks),), np.uint8) for name, chunks in starts.items()}
    total = sum(piece.pictures for piece in pieces)
    for piece in pieces:
        order = list(range(len(starts[piece.name])))
        random.Random(os.getpid()).shuffle(order)
        for place in order:
            if done[piece.name][place]:
                continue
            start = starts[piece.name][place]
            rows = torch.arange(start, min(start + CHUNK, piece.pictures))
            arrays[piece.name][start : start + len(rows)] = _through(model, piece.see, rows)
            arrays[piece.name].flush()
            done[piece.name][place] = 1
            os.utime(draft)  # it is younger than what is swept
            tell(min(total, CHUNK * sum(int(flags.sum()) for flags in done.values())), total)
    (draft / META).write_text(_described(model, shapes).model_dump_json(), encoding="utf-8")


def _described(model: Embedder, shapes: Mapping[str, tuple[int, int]] = MappingProxyType({})) -> Kept:
    trunk = model.get_submodule("trunk")
    parameters = sum(one.numel() for one in trunk.parameters())
    return Kept(shapes=dict(shapes), widths=model.features, parameters=parameters, weights_sha=sha_of(trunk))


@torch.inference_mode()
def _through(model: Embedder, see: Callable[[Tensor], Tensor], rows: Tensor) -> NDArray[np.float32]:
    model.eval()
    # What is seen of a chunk is drawn at once, so that it does not depend on the size of a batch.
    found = torch.cat([model(some).float() for some in torch.split(see(rows), BATCH)])
    return found.cpu().numpy()


def _array(place: Path, shape: tuple[int, ...], dtype: type) -> np.memmap[Any, Any]:
    """A map of the file, which the first of several writers makes whole and zero."""
    if not place.exists():
        own = place.with_name(uuid4().hex)
        np.lib.format.open_memmap(own, "w+", dtype, shape).flush()
        if hasattr(os, "posix_fallocate"):  # a map that the disk has no place for kills the process
            with own.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, own.stat().st_size)
        try:
            os.link(own, place)  # unlike a rename, never in the place of what another process has begun
            own.unlink()
        except FileExistsError:
            own.unlink()
        except OSError:  # no links on this disk
            own.rename(place)
    return np.lib.format.open_memmap(place, "r+")


def _read(folder: Path, split: Split) -> Features | None:
    """What is kept; None where it is not whole, or not of this split."""
    try:
        kept = Kept.model_validate_json((folder / META).read_bytes())
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in kept.shapes}
    except Exception:  # a damaged header can raise nearly anything in numpy
        return None
    counts = {name: len(part.labels) for name, part in _parts(split).items()}
    if any(arrays[name].shape != shape for name, shape in kept.shapes.items()):
        return None
    if any(name not in arrays or len(arrays[name]) != count for name, count in counts.items()):
        return None
    return _assembled(split, arrays, kept)


def _assembled(split: Split, arrays: Mapping[str, NDArray[np.float32]], kept: Kept) -> Features:
    gallery = split.gallery and split.gallery._replace(images=arrays["gallery"])
    train, test = (part._replace(images=arrays[name]) for name, part in zip(PARTS, split[:2], strict=False))
    return Features(
        split._replace(train=train, test=test, gallery=gallery),
        kept.widths,
        arrays.get("views"),
        kept.parameters,
        kept.weights_sha,
    )
