"""A state as a file: every bit of it comes back, and nothing that is damaged or of something else does."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.job.checkpoint import UnfitError, load, save

KEY = {"key": "a-b-c-s0-0123456789ab"}
TENSORS = {
    "channels last": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
    "number": torch.tensor(7),
    "empty": torch.empty(0),
    "bfloat16": torch.randn(3).bfloat16(),
    "double": torch.randn(3).double(),
    "bool": torch.tensor([True, False]),
    "generator": torch.get_rng_state(),
    "expanded": torch.ones(1).expand(4),
    "every other": torch.arange(10)[::2],
    "not finite": torch.tensor([math.nan, math.inf, -0.0]),
}
REST: dict[Any, Any] = {
    "text": "ä\n",
    3: [1, 2.5, 0.1 + 0.2, 1e-320, None, True, ("a", [])],
    "nested": {"deep": {0: (0.9, 0.999)}},
    "not finite": [math.inf, -math.inf],
}


def bits(value: Any) -> Any:
    """A value whose tensors are their bytes."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.contiguous().reshape(-1).view(torch.uint8).tolist()
    return value


def test_every_bit_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "state"
    save(file, {**REST, "tensors": TENSORS, "again": list(TENSORS.values())}, KEY)
    found = load(file, KEY)
    again = found.pop("again")
    tensors = found.pop("tensors")
    assert found == REST
    assert [type(one) for one in found[3]] == [type(one) for one in REST[3]]
    assert {name: bits(one) for name, one in tensors.items()} == {name: bits(one) for name, one in TENSORS.items()}
    assert [bits(one) for one in again] == [bits(one) for one in TENSORS.values()]
    assert tensors["channels last"].stride() == TENSORS["channels last"].stride()  # arithmetic may depend on it


def test_what_is_read_does_not_lie_in_the_file(tmp_path: Path) -> None:
    save(tmp_path / "state", [torch.zeros(3)], KEY)
    (found,) = load(tmp_path / "state", KEY)
    found += 1
    assert torch.equal(load(tmp_path / "state", KEY)[0], torch.zeros(3))


@pytest.mark.parametrize("identity", [{"key": "a-b-c-s1-0123456789ab"}, {}, {**KEY, "data": "x"}], ids=str)
def test_the_state_of_something_else_is_not_taken(tmp_path: Path, identity: dict[str, Any]) -> None:
    save(tmp_path / "state", [1], KEY)
    with pytest.raises(UnfitError, match="is of another job"):
        load(tmp_path / "state", identity)


def test_no_damage_is_overlooked(tmp_path: Path) -> None:
    """Any byte that is another one, and any end that is missing."""
    file = tmp_path / "state"
    save(file, [torch.arange(3), {"text": "some"}], KEY)
    whole = file.read_bytes()
    for place in range(len(whole)):
        for damaged in (whole[:place], whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]):
            file.write_bytes(damaged)
            try:
                found = load(file, KEY)
            except UnfitError:
                continue
            assert (found[0].tolist(), found[1]) == ([0, 1, 2], {"text": "some"}), place  # it was a space


def test_what_could_run_code_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="holds set"):
        save(tmp_path / "state", {"one": [{1}]}, KEY)
    assert not (tmp_path / "state").exists()
