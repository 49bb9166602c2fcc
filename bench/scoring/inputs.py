"""What `evaluate` is given, checked: embeddings, labels, an order and the K. Every error is one sentence."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from losses.ensembles import Distance

__all__ = ["Given", "check_ks", "check_whole", "checked", "checked_order", "numbered", "scale_of"]

Values = Tensor | ArrayLike
TINY = 2.0**-40
"""Where no value is larger, all are scaled up: squares of smaller ones leave the range of single precision."""


class Given(NamedTuple):
    """Queries and, where there is one, their gallery."""

    points: Tensor
    """[Q, dim], float32 or float64."""
    labels: NDArray[Any]
    """[Q]: whole numbers or text."""
    gallery: Tensor | None
    """[N, dim], on the device of the queries."""
    gallery_labels: NDArray[Any] | None
    """[N], of the kind of the labels."""
    scale: float
    """What points and gallery were multiplied by: a power of two, 1 for all but tiny values."""


def checked(
    points: Values,
    labels: Values,
    gallery: Values | None,
    gallery_labels: Values | None,
    *,
    distance: Distance = "euclidean",
) -> Given:
    """Everything that `evaluate` compares. Raises ValueError."""
    given = _given(points, labels, gallery, gallery_labels)
    if distance == "euclidean":
        return _scaled(given)
    if distance != "hyperbolic":
        raise ValueError(f"distance = {distance!r} is not known: give euclidean or hyperbolic.")
    for name, part in (("queries", given.points), ("gallery", given.gallery)):
        if part is not None and not (norms := part.double().norm(dim=1)).max() < 1:
            row = int(norms.argmax())
            raise ValueError(
                f"hyperbolic distance is of points inside the ball of radius 1, and row {row + 1} of the {name} has "
                f"the norm {norms[row]:g}: give such points, or another distance."
            )
    return given


def _given(points: Values, labels: Values, gallery: Values | None, gallery_labels: Values | None) -> Given:
    queries, names = _points("queries", points), _labels("labels", labels)
    _check_count("queries", queries, names)
    if gallery is None and gallery_labels is None:
        return Given(queries, names, None, None, 1.0)
    if gallery is None or gallery_labels is None:
        raise ValueError("a gallery goes with its labels: give gallery and gallery_labels, or neither.")
    pool, others = _points("gallery", gallery), _labels("gallery_labels", gallery_labels)
    _check_count("gallery", pool, others)
    if pool.shape[1] != queries.shape[1]:
        raise ValueError(f"queries are {queries.shape[1]} wide, the gallery {pool.shape[1]}: embed both alike.")
    _check_kinds(names, others)
    return Given(queries, names, pool.to(queries.device), others, 1.0)


def checked_order(
    order: Values, labels: Values, gallery_labels: Values | None
) -> tuple[NDArray[np.integer], NDArray[Any], NDArray[Any] | None]:
    """An order [Q, depth], the labels of its queries and those of the gallery. Raises ValueError."""
    found, names = _array("order", order), _labels("labels", labels)
    pool = None if gallery_labels is None else _labels("gallery_labels", gallery_labels)
    others = names if pool is None else pool
    if found.ndim != 2 or not len(found) or found.dtype.kind not in "iu":
        raise ValueError(f"an order is a matrix [queries, depth] of indices, not {found.dtype} {found.shape}.")
    if names.shape != (len(found),) or others.ndim != 1:
        raise ValueError(f"an order of {len(found)} queries and labels {names.shape}: give one label per query.")
    if pool is not None:
        _check_kinds(names, pool)
    if found.size and not 0 <= found.min() <= found.max() < len(others):
        raise ValueError(f"an order of {len(others)} images holds indices from 0 to {len(others) - 1}: check it.")
    if pool is None and (found == np.arange(len(found))[:, None]).any():
        raise ValueError("an order holds a query as its own candidate: leave it out, or give gallery_labels.")
    if any((np.diff(np.sort(row)) == 0).any() for row in found):
        raise ValueError("an order holds a candidate twice for one query: rank each once.")
    return found, names, pool


def numbered(labels: NDArray[Any], others: NDArray[Any] | None) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Labels of any kind as numbers that both sides share."""
    together = labels if others is None else np.concatenate([labels, others])
    numbers = np.unique(together, return_inverse=True)[1].astype(np.int64)
    return numbers[: len(labels)], None if others is None else numbers[len(labels) :]


def check_ks(ks: Sequence[int]) -> None:
    """Raises ValueError unless `ks` are whole numbers from 1 up."""
    given = list(ks) if isinstance(ks, Sequence | np.ndarray | range) and not isinstance(ks, str | bytes) else []
    if not given or not all(isinstance(k, Integral) and not isinstance(k, bool) and k >= 1 for k in given):
        raise ValueError(f"ks = {ks!r} are no whole numbers from 1 up: give at least one, as in ks=(1, 10).")


def check_whole(name: str, value: int) -> None:
    """Raises ValueError unless `value` is a whole number from 0 up."""
    if not isinstance(value, Integral) or value < 0:
        raise ValueError(f"{name} = {value!r} is no whole number from 0 up: change it.")


def _array(name: str, values: Values) -> NDArray[Any]:
    if isinstance(values, Tensor):
        found = values.detach().cpu()
        return (found.double() if found.is_floating_point() else found).numpy()
    try:
        return np.asarray(values)
    except ValueError:
        raise ValueError(f"{name} are lists of different lengths: give all rows the same length.") from None


def _points(name: str, embeddings: Values) -> Tensor:
    points = embeddings.detach() if isinstance(embeddings, Tensor) else _tensor(name, _array(name, embeddings))
    if points.layout != torch.strided:
        raise ValueError(f"{name} are a sparse tensor: give points.to_dense().")
    if points.is_complex():
        raise ValueError(f"{name} are complex numbers, which have no order by distance here: give real ones.")
    points = points if points.dtype in (torch.float32, torch.float64) else points.float()
    if points.ndim != 2 or not points.numel():
        raise ValueError(f"{name} must be a matrix [images, dim] with something in it, not {tuple(points.shape)}.")
    # Beyond 1e15 squares leave the range of single precision, in which neighbours are searched.
    if not points.abs().max() <= 1e15:
        raise ValueError(f"{name} hold NaN, infinity or values beyond 1e15: the model has diverged, train it anew.")
    return points


def _tensor(name: str, array: NDArray[Any]) -> Tensor:
    if array.dtype.kind not in "fiubc":
        raise ValueError(f"{name} are an array of {array.dtype}, not of numbers: give a matrix of floats.")
    # torch knows neither a foreign byte order nor more than double precision.
    kind = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 or array.dtype.kind == "c" else np.dtype("f8")
    return torch.from_numpy(np.require(array, kind, requirements=["C", "W"]))


def _labels(name: str, labels: Values) -> NDArray[Any]:
    found = _array(name, labels)
    if found.ndim != 1:
        raise ValueError(f"{name} have the shape {found.shape}: give a list of them, one label per row.")
    if found.dtype.kind == "O":
        found = _of_one_kind(name, found)
    if found.dtype.kind == "S":
        found = _decoded(name, found)
    if found.dtype.kind == "f":
        found = _whole(name, found)
    if found.dtype.kind not in "iubU":
        raise ValueError(f"{name} are an array of {found.dtype}: give whole numbers or text.")
    if found.dtype.kind == "U" and (empty := np.char.strip(found) == "").any():
        raise ValueError(f"{name} hold an empty text, first in row {int(empty.argmax()) + 1}: name every class.")
    return found


def _of_one_kind(name: str, labels: NDArray[Any]) -> NDArray[Any]:
    """Python objects as numbers or text, where all are of one kind."""
    for kind, numpy in ((str, np.str_), (bytes, np.bytes_), (Integral, np.int64)):
        if all(isinstance(label, kind) for label in labels):
            try:
                return labels.astype(numpy)
            except OverflowError:  # whole numbers beyond 64 bits
                return labels.astype(np.str_)
    kind = Integral if isinstance(labels[0], Integral) else str
    row, other = next((row, label) for row, label in enumerate(labels, 1) if not isinstance(label, kind))
    raise ValueError(f"{name} hold {other!r} in row {row}: give whole numbers alone, or text alone, none missing.")


def _decoded(name: str, labels: NDArray[np.bytes_]) -> NDArray[np.str_]:
    try:
        return np.char.decode(labels, "utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{name} are bytes that are not UTF-8: decode them to text first.") from None


def _whole(name: str, labels: NDArray[np.floating]) -> NDArray[np.int64]:
    wide = labels.astype(np.float64)
    if not (np.isfinite(wide) & (wide == np.round(wide)) & (np.abs(wide) < 2**53)).all():
        raise ValueError(f"{name} hold NaN or numbers with a fraction: a label is a whole number or text.")
    return wide.astype(np.int64)


def _check_count(name: str, points: Tensor, labels: NDArray[Any]) -> None:
    if labels.shape != (len(points),):
        raise ValueError(f"{name} are {len(points)} rows but labels are {labels.shape}: give one label per row.")


def _check_kinds(labels: NDArray[Any], others: NDArray[Any]) -> None:
    kinds = ["text" if one.dtype.kind == "U" else "numbers" for one in (labels, others)]
    if kinds[0] != kinds[1]:
        shown = ", ".join(repr(one[0].item()) for one in (labels, others))
        raise ValueError(f"labels are {kinds[0]}, gallery_labels {kinds[1]}: {shown}; give both of one kind.")


def scale_of(largest: Iterable[float]) -> float:
    """What values, given the largest of each part, are to be multiplied by in double precision: 1 unless all are tiny.

    By a power of two no digit is lost, in double precision none below the range of single precision either.
    """
    most = max(largest)
    return 2.0 ** -int(np.frexp(most)[1]) if 0 < most < TINY else 1.0


def _scaled(given: Given) -> Given:
    scale = scale_of(float(part.abs().max()) for part in (given.points, given.gallery) if part is not None)
    if scale == 1:
        return given
    gallery = None if given.gallery is None else given.gallery.double() * scale
    return given._replace(points=given.points.double() * scale, gallery=gallery, scale=scale)
