"""The checks of `bench test-plugin`: does a part of a plugin keep to what the harness relies on?"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from bench.datasets.plugin_split import of_plugin
from bench.datasets.split import DataError, Images, Split
from bench.job.built import built
from bench.job.fusion import Stored
from bench.job.network import embedder, embedder_of_vectors
from bench.job.objective_contract import CHECKS, Broken, build, leaves
from bench.matrix.catalogue import FEATURES, VECTORS, Entry
from bench.matrix.plugin_file import PluginError
from bench.matrix.plugin_import import failure
from bench.scoring.plugin_metric import trial
from losses.proxy import proxy_anchor
from losses.triplets import triplet

__all__ = ["Check", "contract"]

BUILT = "it is built with its defaults"
DEEP = 4
"""How many images the checks embed."""


class Check(NamedTuple):
    """One thing that was looked at."""

    what: str
    problem: str | None
    """None: it is as it should be."""
    tried: bool = True


def contract(entry: Entry, data: Path | None = None) -> Iterator[Check]:
    """Check one part of a plugin, with its parameters at their defaults.

    Args:
        entry: of a plugin in use, whose parameters can be read.
        data: folder for a dataset.
    """
    label = entry.text.partition("\n")[0].strip()
    yield Check("its docstring begins with a label", None if label else f'begin {entry.name} with """What it is."""')
    needed = [name for name, parameter in entry.parameters.items() if parameter.required]
    if needed:
        yield Check(BUILT, f"{needed[0]} has no default, so nothing more can be tried", tried=False)
        return
    with torch.random.fork_rng(devices=[]):
        for what, check in _CONTRACTS[entry.kind](entry, data):
            problem = _problem(check, entry)
            yield Check(what, problem)
            if problem and what == BUILT:
                return


Named = Iterator[tuple[str, Callable[[], Any]]]


def _problem(check: Callable[[], Any], entry: Entry) -> str | None:
    try:
        check()
    except (Broken, PluginError, DataError) as error:
        return str(error)
    except Exception as error:  # a plugin raises whatever it likes
        return f"it fails ({failure(error, entry.plugin)}): mend it"
    return None


def _objective(entry: Entry, _data: Path | None) -> Named:
    """A loss by itself; an ensemble with two members."""
    members = [[triplet, proxy_anchor]] if entry.kind == "ensembles" else []

    def make(shape: Any) -> nn.Module:
        module: nn.Module = entry.function()(shape, *members)
        return module

    text = "text" in entry.needs
    yield BUILT, partial(build, make, text=text)
    for what, check in CHECKS.items():
        if "order" not in what or "in batch order" not in " ".join(entry.text.split()):
            yield what, partial(check, make, text)


def _backbone(entry: Entry, _data: Path | None) -> Named:
    """Of pictures or of vectors."""
    yield BUILT, partial(_embedded, entry, 3)
    other = "vectors of another width" if entry.positional == VECTORS else "images of one channel"
    yield f"{other} are embedded", partial(_embedded, entry, 1)
    yield "finite gradients reach all parameters, and nothing else trains", partial(_trains, entry)
    yield "the same seed gives the same bits", partial(_same_twice, lambda: _embedded(entry, 3)[1].detach().numpy())
    yield "continued from its state, it gives the same bits", partial(_continues, entry)


def _continues(entry: Entry) -> None:
    (straight, _), (again, _) = _embedded(entry, 3), _embedded(entry, 3)
    images = torch.rand(DEEP, *_shape(entry, 3), generator=torch.Generator().manual_seed(1))
    straight(images)
    again.load_state_dict(straight.state_dict())
    found = []
    for model in (straight, again):
        torch.manual_seed(7)
        found.append(model(images))
    if not torch.equal(*found):
        raise Broken("what changes while it trains is not in its state_dict: keep it in a buffer")


def _shape(entry: Entry, channels: int) -> tuple[int, ...]:
    """Of a picture of so many channels, or of a vector of so many numbers."""
    return (channels,) if entry.positional == VECTORS else (channels, 32, 32)


def _embedded(entry: Entry, channels: int) -> tuple[nn.Module, torch.Tensor]:
    """The network on pictures of so many channels, or on vectors of so many numbers, and what it makes of them."""
    torch.manual_seed(7)
    shape = _shape(entry, channels)
    images = torch.rand(DEEP, *shape, generator=torch.Generator().manual_seed(0))
    trunk = built(entry, entry.function()(channels))
    make = partial(embedder_of_vectors, widths=(), trunk=trunk) if len(shape) == 1 else partial(embedder, trunk)
    model = make(images, dim=8)
    embeddings: torch.Tensor = model.train()(images)
    if not embeddings.isfinite().all():
        raise Broken("the features of images are not finite: look at the normalisation")
    return model, embeddings


def _trains(entry: Entry) -> None:
    model, embeddings = _embedded(entry, 3)
    value = embeddings.square().sum()
    known = {id(tensor) for tensor in model.parameters()}
    if any(id(tensor) not in known for tensor in leaves(value)):
        raise Broken("a trainable tensor is no parameter of the module: assign an nn.Parameter to self")
    torch.autograd.backward(value)
    for name, tensor in model.get_submodule("trunk").named_parameters():
        if tensor.requires_grad and (tensor.grad is None or not tensor.grad.isfinite().all()):
            raise Broken(f"no finite gradient reaches {name}: use it in forward, or set requires_grad = False")


def _dataset(entry: Entry, data: Path | None) -> Named:
    defaults = {name: parameter.default for name, parameter in entry.parameters.items()}
    yield BUILT, partial(of_plugin, entry, data, defaults)
    yield (
        "the same call gives the same images",
        partial(_same_twice, lambda: np.frombuffer(bytes.fromhex(of_plugin(entry, data, defaults).sha), np.uint8)),
    )


def _same_twice(make: Callable[[], Any]) -> None:
    if not np.array_equal(make(), make()):
        raise Broken("two calls differ: draw random numbers from a generator with a fixed seed")


def _floor(entry: Entry, _data: Path | None) -> Named:
    for gallery in (False, True):
        what = f"finite vectors of the queries{' and the gallery' if gallery else ''}"
        yield what, partial(_vectors, entry, _split(entry, gallery))
    yield "the same call gives the same bits", partial(_same_twice, lambda: entry.function()(_split(entry, True)))


def _split(entry: Entry, gallery: bool) -> Split:
    """A few pictures of noise; of a floor of features, vectors."""
    random = np.random.default_rng(0)

    def part(names: tuple[str, ...]) -> Images:
        pictures = random.integers(0, 256, (2 * len(names), 16, 16, 3), dtype=np.uint8)
        vectors = pictures[:, 0].reshape(len(pictures), -1).astype(np.float32)
        images = vectors if entry.positional == FEATURES else pictures
        return Images(images, np.repeat(np.arange(len(names)), 2), names)

    test = part(("c", "d", "e"))
    return Split(part(("a", "b")), test, part(test.classes) if gallery else None)


def _vectors(entry: Entry, split: Split) -> None:
    vectors = np.asarray(entry.function()(split), np.float32)
    count = len(split.test.labels) + (len(split.gallery.labels) if split.gallery else 0)
    if vectors.ndim != 2 or len(vectors) != count:
        raise Broken(f"it gives the shape {list(vectors.shape)}: return [{count}, dim], the queries first")
    if not np.isfinite(vectors).all():
        raise Broken("some numbers are not finite: keep divisions away from 0")


def _fusion(entry: Entry, _data: Path | None) -> Named:
    for gallery in (False, True):
        yield f"two models are fused{', with a gallery' if gallery else ''}", partial(_fused, entry, gallery)
    yield "one model alone is fused", partial(_fused, entry, False, 1)


def _fused(entry: Entry, gallery: bool, models: int = 2) -> None:
    random = np.random.default_rng(0)

    def vectors(count: int) -> Any:
        return random.normal(size=(count, 8)).astype(np.float32)

    found = entry.function()([Stored(vectors(6), vectors(9) if gallery else None, vectors(12)) for _ in range(models)])
    candidates = 9 if gallery else 5
    if isinstance(found, Stored):
        parts = [np.asarray(part, np.float32) for part in found[: 2 if gallery else 1]]
        if any(part.ndim != 2 or not np.isfinite(part).all() for part in parts):
            raise Broken("the fused embeddings are no finite tables: return Stored(queries, gallery, training)")
        if [len(part) for part in parts] != [6, 9][: len(parts)]:
            raise Broken("there is not one fused embedding for each image: keep the number of rows")
    elif not isinstance(found, np.ndarray) or found.ndim != 2 or len(found) != 6 or found.shape[1] > candidates:
        raise Broken("it returns neither Stored of bench.job.fusion, nor the order of the candidates [Q, depth]")


def _metric(entry: Entry, _data: Path | None) -> Named:
    yield "it gives finite values of at most 1", partial(trial, entry)


_CONTRACTS: dict[str, Callable[[Entry, Path | None], Named]] = {
    "losses": _objective,
    "ensembles": _objective,
    "backbones": _backbone,
    "datasets": _dataset,
    "floors": _floor,
    "model_ensembles": _fusion,
    "metrics": _metric,
}
