"""A trunk's weights from a local file or an installed package, whatever the program that wrote them made of them."""

import hashlib
import pickle
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.matrix.packaged_weights import verified

__all__ = ["load", "packaged_state", "sha_of"]

State = dict[str, Tensor]


def load(trunk: nn.Module, file: Path) -> None:
    """Load a state dict, safetensors or PyTorch's; a classifier in it is left over.

    Training programs store the weights inside other things: a table `state_dict` or `model`, names that begin with
    `module.`, `_orig_mod.` or `backbone.`. Whatever stands before the names of the trunk is taken off. A model of
    timm's may also hold the names of its authors, or position embeddings for another size, which timm converts. Names
    of another program are taken in their order, if all shapes agree in that order.

    Raises:
        ValueError: the file cannot be read, belongs to another trunk, or holds the trunk more than once.
    """
    state, wanted = dict(_flat(_read(file))), trunk.state_dict()
    found = _unwrapped(state, list(wanted), file)
    if _misfit(found, wanted) is not None:
        found = _converted(trunk, found)
    why = _misfit(found, wanted)
    if why is not None and not state.keys() & wanted.keys():
        found, why = _in_order(state, wanted)
    if why is not None:
        raise ValueError(f"{file}: not weights of this trunk; {why}")
    trunk.load_state_dict({name: found[name] for name in wanted})


def sha_of(trunk: nn.Module) -> str:
    """SHA-256 (hex) of all its tensors."""
    digest = hashlib.sha256()
    for tensor in trunk.state_dict().values():
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def packaged_state(model: str, sha: str) -> State:
    """The weights of a timm model that an installed package ships, classifier included, under timm's names.

    Args:
        model: timm's name of it, in `packaged_weights.PACKAGED`.
        sha: SHA-256 of the file.

    Raises:
        ValueError: the file is not there, or has another content.
    """
    return dict(_packaged(model, verified(model, sha)))  # timm takes entries out


@lru_cache(maxsize=1)
def _packaged(model: str, file: Path) -> State:
    import timm  # which is slow, and few jobs are pretrained

    with torch.device("meta"):  # for its names and shapes alone
        wanted = timm.create_model(model).state_dict()
    found, why = _in_order(dict(_flat(_read(file))), wanted)
    if why is not None:
        raise ValueError(f"{file}: not weights of {model}; {why}")
    return {name: tensor for name, tensor in found.items() if not tensor.is_meta}


def _read(file: Path) -> Any:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = "it holds Python objects beside tensors" if "Unsupported global" in str(error) else "it is no state dict"
        raise ValueError(
            f"{file}: not weights of this trunk; {why}: save the network's state_dict() alone with torch.save"
        ) from None
    except Exception as error:  # unpickling raises whatever it likes
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file}: not weights of this trunk; {first}") from None


def _flat(table: Any, before: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested tables, under its names joined by dots."""
    for name, value in table.items() if isinstance(table, Mapping) else ():
        if isinstance(value, Tensor):
            yield f"{before}{name}", value
        else:
            yield from _flat(value, f"{before}{name}.")


def _unwrapped(state: State, wanted: list[str], file: Path) -> State:
    """The trunk's own names, without what stands before them; the state as it is where the trunk is not in it."""
    ends = [name for name in state if f".{name}".endswith(f".{wanted[0]}")]
    before = [name.removesuffix(wanted[0]) for name in ends]
    whole = [start for start in before if all(f"{start}{name}" in state for name in wanted)]
    if len(whole) > 1:
        names = " and ".join(repr(start.rstrip(".")) for start in whole)
        raise ValueError(f"{file}: holds the trunk more than once, as {names}: save the one that you mean alone")
    start = whole[0] if whole else ""
    return {name.removeprefix(start): tensor for name, tensor in state.items() if name.startswith(start)}


def _converted(trunk: nn.Module, state: State) -> State:
    """As timm itself converts a published file of this model."""
    convert = getattr(sys.modules[type(trunk).__module__], "checkpoint_filter_fn", None)
    try:
        found: State = convert(state, trunk) if convert else state
    except Exception:  # made for other names, and raises whatever it likes
        return state
    return found


def _in_order(state: State, wanted: Mapping[str, Tensor]) -> tuple[State, str | None]:
    """The state under the wanted names, tensor by tensor in their order; and why it is not that, None where it is.

    Each pair must agree in shape and in the last word of its name: a weight and a bias of one batch norm have the same
    shape. What is no floating point number, as a count of batches, stays as the trunk has it.
    """
    given = [(name, tensor) for name, tensor in state.items() if tensor.is_floating_point()]
    names = [name for name, tensor in wanted.items() if tensor.is_floating_point()]
    for name, (other, tensor) in zip(names, given, strict=False):
        if tensor.shape != wanted[name].shape or _last_word(other) != _last_word(name):
            return state, f"in place of {name}, {_shape(wanted[name])}, it has {other}, {_shape(tensor)}"
    if len(given) < len(names):
        return state, f"{names[len(given)]} is missing"
    if len(given) >= 2 * len(names):
        return state, "it holds more than one network"
    return {**wanted, **{name: tensor for name, (_, tensor) in zip(names, given, strict=False)}}, None


def _last_word(name: str) -> str:
    return name.rpartition(".")[2]


def _misfit(state: State, wanted: Mapping[str, Tensor]) -> str | None:
    """What is absent or of another shape."""
    for name, tensor in wanted.items():
        if name not in state:
            return f"{name} is missing"
        if state[name].shape != tensor.shape:
            return f"{name} is {_shape(state[name])}, not {_shape(tensor)}"
    return None


def _shape(tensor: Tensor) -> str:
    return " × ".join(map(str, tensor.shape)) or "one number"
