"""The state of a job as one file: its tensors as safetensors, all else as JSON in that file's header. No pickle."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["UnfitError", "load", "packed", "save", "unpacked"]

LAYOUT = 1
"""Changes with what a state is made of, so that no other version of the harness continues it."""


class UnfitError(Exception):
    """A checkpoint cannot be continued from; the end of a sentence that says why."""


def save(file: Path, state: Any, identity: Mapping[str, Any]) -> None:
    """Write a state, and whose it is.

    Raises:
        TypeError: there is something else in it than tensors, numbers, text, lists, tuples and dicts.
        OSError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"layout": LAYOUT, **identity, "state": packed(state, tensors)})
    save_file(tensors, file, metadata={"lossbench": text, "crc32": str(_sum(text, tensors))})


def load(file: Path, identity: Mapping[str, Any]) -> Any:
    """The state that `save` wrote.

    Raises:
        UnfitError: it is damaged, or of something else.
    """
    try:
        with safe_open(file, "pt") as opened:
            about = opened.metadata()
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        whole = about["crc32"] == str(_sum(about["lossbench"], tensors))
        found = json.loads(about["lossbench"])
        state = unpacked(found.pop("state"), tensors)
    except Exception as error:  # whatever is wrong with it, the job can begin anew
        raise UnfitError("is damaged") from error
    if not whole:
        raise UnfitError("is damaged")
    if found != {"layout": LAYOUT, **identity}:
        raise UnfitError("is of another job, of other data or of another version of lossbench")
    return state


def packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """What JSON can hold of a value; its tensors are put in `tensors`, each with a number for a name.

    Raises:
        TypeError: it has a part that is none of these.
    """
    match value:
        case Tensor():
            name = str(len(tensors))
            tensors[name] = torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
            return {"tensor": name, "stride": list(torch.empty_like(value, device="meta").stride())}
        case None | bool() | int() | float() | str():
            return value
        case tuple():
            return {"tuple": [packed(one, tensors) for one in value]}
        case list():
            return [packed(one, tensors) for one in value]
        case dict():
            return {"dict": [[packed(name, tensors), packed(one, tensors)] for name, one in value.items()]}
    raise TypeError(f"holds {type(value).__name__}")


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The value that `packed` took apart."""
    match value:
        case list():
            return [unpacked(one, tensors) for one in value]
        case {"tensor": name, "stride": stride}:
            return _laid_out(tensors[name], stride)
        case {"tuple": parts}:
            return tuple(unpacked(one, tensors) for one in parts)
        case {"dict": pairs}:
            return {unpacked(name, tensors): unpacked(one, tensors) for name, one in pairs}
    return value


def _laid_out(stored: Tensor, stride: Sequence[int]) -> Tensor:
    """A copy that lies in memory as the tensor did: in another order, arithmetic may round differently."""
    return torch.empty_strided(stored.shape, tuple(stride), dtype=stored.dtype).copy_(stored)


def _sum(text: str, tensors: Mapping[str, Tensor]) -> int:
    """A checksum: a changed bit in a file that can still be read would be a wrong result."""
    found = zlib.crc32(text.encode())
    for number in range(len(tensors)):
        one = tensors[str(number)]
        if one.numel():
            found = zlib.crc32(one.reshape(-1).view(torch.uint8).numpy().data, found)
    return found
