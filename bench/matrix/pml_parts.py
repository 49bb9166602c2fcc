"""A loss of pytorch-metric-learning in a matrix: its parameters, and the parts among them, checked and filled in."""

import math
from collections.abc import Mapping
from typing import Any

from bench.matrix.catalogue import PML, Entry, check, did_you_mean, pml_entries
from bench.matrix.pml_arguments import GROUPS, PARTS
from bench.matrix.pml_source import made

__all__ = ["offered", "settled", "small_memory"]

REFUSED = {
    "pml/MultipleLosses": 'is a sum of losses; name "sum" with members = [...] under ensembles',
    "pml/SelfSupervisedLoss": "compares two views of each image, and a batch has one; name the loss that it wraps",
    "pml/VICRegLoss": "compares two views of each image and takes no labels; choose a loss that learns from labels",
    "pml/ManifoldLoss": "takes no labels, and all losses here learn from labels; choose another loss",
    "EmbeddingsAlreadyPackagedAsTriplets": "needs batches made of triplets, and these are P × K; choose another miner",
    "DoNothingReducer": "gives no number to learn from; choose another reducer",
}
"""What cannot be trained here, and why."""


def offered() -> list[Entry]:
    """Every loss that can be trained, and every part that it can take."""
    return [entry for group in GROUPS for entry in pml_entries(group).values() if entry.name not in REFUSED]


def settled(entry: Entry, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameters of a loss, a part among them as a table of all of its own; and as text those that are not usual.

    Raises:
        LookupError: an unknown name or parameter, or one that is needed and was not given.
        ValueError: a value of the wrong type, or parts that do not fit together.
    """
    found = _settled(entry, dict(parameters))
    return found, _unusual(entry, found)


def small_memory(name: str, parameters: Mapping[str, Any], batch: int) -> str | None:
    """Why a memory cannot hold a batch of so many images; None where it can, or the loss has none."""
    size = parameters.get("memory_size")
    if not name.startswith(PML) or size is None or size >= batch:
        return None
    return f"{name} cannot hold a batch of {batch} images; set memory_size = {batch} or more"


def _settled(entry: Entry, parameters: dict[str, Any]) -> dict[str, Any]:
    _refuse(entry, parameters)
    found = check(entry, parameters)
    for name, value in found.items():
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"{entry.name}: {name} = nan is not possible; it should be a number")
        if name in PARTS:
            found[name] = _part(entry, name, PARTS[name], value)
        elif name == "reducers":
            found[name] = {each: _part(entry, f"{name}.{each}", name, part) for each, part in value.items()}
    if found.get("loss"):
        _refuse_inside(entry, found["loss"])
    return found


def _refuse(entry: Entry, parameters: Mapping[str, Any]) -> None:
    """What cannot be trained here, and parameters that nobody can set."""
    if entry.name in REFUSED:
        raise ValueError(f"{entry.name} {REFUSED[entry.name]}")
    for name in parameters.keys() & {*entry.positional}:
        raise LookupError(f"{entry.name}: {name} comes from the data and the recipe; remove it")
    if entry.kind == "losses" and "miner" in parameters and "miner" not in entry.parameters:
        raise LookupError(f"{entry.name} takes no miner: it looks at the whole batch; remove miner")


def _part(entry: Entry, name: str, group: str, value: Any) -> dict[str, Any] | None:
    """A part as a table of its name and all of its parameters."""
    if value is None:
        return None
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        written = f"write the name of a {GROUPS[group]}, or a table with a name"
        raise ValueError(f"{entry.name}: {name} = {value!r} is not possible; {written}")
    inside = _entry(group, table["name"].removeprefix(PML))
    return {
        "name": inside.name.removeprefix(PML),
        **_settled(inside, {key: each for key, each in table.items() if key != "name"}),
    }


def _entry(group: str, name: str) -> Entry:
    known = {each.removeprefix(PML): entry for each, entry in pml_entries(group).items()}
    if name not in known:
        raise LookupError(f"there is no {GROUPS[group]} {name!r} in pytorch-metric-learning{did_you_mean(name, known)}")
    return known[name]


def _refuse_inside(entry: Entry, loss: Mapping[str, Any]) -> None:
    """A loss that another one cannot hold, or one that mines by itself."""
    able = made("losses")[entry.name.removeprefix(PML)].wraps
    if loss["name"] not in able:
        raise ValueError(f"{entry.name} cannot hold {loss['name']}{did_you_mean(loss['name'], able)}")
    if loss.get("miner"):
        raise ValueError(f"{entry.name}: the miner belongs to {entry.name}, not to the loss inside; move it there")


def _unusual(entry: Entry, found: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that are not at their defaults, parts as text: TripletMarginMiner(margin=0.1)."""
    needed = {name: found[name] for name, parameter in entry.parameters.items() if parameter.required}
    usual = _settled(entry, needed)
    unusual = {name: value for name, value in found.items() if name in needed or value != usual[name]}
    return {name: _text(name, value) for name, value in unusual.items()}


def _text(name: str, value: Any) -> Any:
    if isinstance(value, dict) and "name" in value:
        own = {key: each for key, each in value.items() if key != "name"}
        unusual = _unusual(_entry(PARTS.get(name, name), value["name"]), own)
        settings = ", ".join(f"{key}={each}" for key, each in unusual.items())
        return value["name"] + (f"({settings})" if settings else "")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_text(name, each)}" for key, each in value.items()) + "}"
    return value
