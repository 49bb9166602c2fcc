import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.job.backbones import conv4
from bench.job.weights import load

State = dict[str, Tensor]


def states() -> tuple[State, State]:
    """Two sets of weights of one network."""
    network = conv4(1, width=4)
    one = {name: torch.full_like(tensor, 1) for name, tensor in network.state_dict().items()}
    return one, {name: tensor + 1 for name, tensor in one.items()}


def before(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


WRAPPERS: dict[str, Callable[[State], Any]] = {
    "plain": lambda state: state,
    "with a classifier": lambda state: state | {"fc.weight": torch.ones(2, 2)},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3},
    "model": lambda state: {"model": state, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
    "model_ema": lambda state: {"model_ema": state, "args": {"lr": 0.1}},
    "module.": lambda state: before("module.", state),
    "_orig_mod.": lambda state: before("_orig_mod.", state),
    "backbone.": lambda state: before("backbone.", state) | {"head.weight": torch.ones(2, 2)},
    "trunk.": lambda state: before("trunk.", state) | {"mean": torch.zeros(1)},
    "several at once": lambda state: {"state_dict": before("module._orig_mod.encoder.", state)},
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_weights_are_taken_out_of_what_programs_wrap_them_in(tmp_path: Path, wrap: Callable[[State], Any]) -> None:
    state, _ = states()
    torch.save(wrap(state), tmp_path / "trunk.pt")
    network = conv4(1, width=4)
    load(network, tmp_path / "trunk.pt")
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


def test_names_in_safetensors_are_unwrapped_too(tmp_path: Path) -> None:
    state, _ = states()
    save_file(before("module.", state), tmp_path / "trunk.safetensors")
    network = conv4(1, width=4)
    load(network, tmp_path / "trunk.safetensors")
    assert all(torch.equal(state[name], tensor) for name, tensor in network.state_dict().items())


TWICE: dict[str, tuple[Callable[[State, State], Any], str]] = {
    "with an average": (lambda one, two: {"model": one, "model_ema": two}, "'model' and 'model_ema'"),
    "teacher and student": (
        lambda one, two: {"student": before("module.", one), "teacher": two},
        r"'student\.module' and 'teacher'",
    ),
    "momentum encoder": (
        lambda one, two: {"state_dict": before("encoder_q.", one) | before("encoder_k.", two)},
        "encoder_q' and 'state_dict.encoder_k'",
    ),
}


@pytest.mark.parametrize(("wrap", "named"), TWICE.values(), ids=TWICE)
def test_a_file_that_holds_the_trunk_twice_is_never_guessed(
    tmp_path: Path, wrap: Callable[[State, State], Any], named: str
) -> None:
    torch.save(wrap(*states()), tmp_path / "trunk.pt")
    with pytest.raises(ValueError, match=f"more than once, as .*{named}: save the one that you mean alone"):
        load(conv4(1, width=4), tmp_path / "trunk.pt")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"state_dict": {}, "args": argparse.Namespace(lr=0.1)}, "holds Python objects beside tensors: save"),
        (nn.Linear(2, 2), "holds Python objects beside tensors: save"),
        ({"state_dict": {}}, "0.weight is missing"),
        ([1, 2], "is missing"),
    ],
    ids=["options", "whole network", "nothing", "list"],
)
def test_what_is_not_a_state_dict_is_a_sentence(tmp_path: Path, content: object, sentence: str) -> None:
    torch.save(content, tmp_path / "trunk.pt")
    with pytest.raises(ValueError, match=sentence) as error:
        load(conv4(1, width=4), tmp_path / "trunk.pt")
    assert "\n" not in str(error.value)


def test_another_width_names_the_first_tensor_that_differs(tmp_path: Path) -> None:
    torch.save(conv4(1, width=8).state_dict(), tmp_path / "trunk.pt")
    with pytest.raises(ValueError, match="is 8 × 1 × 3 × 3, not 4 × 1 × 3 × 3"):
        load(conv4(1, width=4), tmp_path / "trunk.pt")


def test_position_embeddings_of_another_size_are_resampled_as_timm_does(tmp_path: Path) -> None:
    large, small = (timm.create_model("test_vit", num_classes=0, img_size=size) for size in (160, 64))
    torch.save({"model": before("module.", large.state_dict())}, tmp_path / "trunk.pt")
    load(small, tmp_path / "trunk.pt")
    large.set_input_size(64)
    assert all(torch.equal(large.state_dict()[name], tensor) for name, tensor in small.state_dict().items())


def renamed(state: State) -> State:
    """Other words, the same order: what another program calls its layers."""
    return {f"layer{index}.{name.rpartition('.')[2]}": tensor for index, (name, tensor) in enumerate(state.items())}


@pytest.mark.parametrize("counts", [True, False])
def test_names_of_another_program_are_taken_in_their_order(tmp_path: Path, counts: bool) -> None:
    state, _ = states()
    given = {name: t for name, t in state.items() if counts or t.is_floating_point()}
    torch.save(renamed(given) | {"fc.weight": torch.ones(2, 2)}, tmp_path / "trunk.pt")
    network = conv4(1, width=4)
    load(network, tmp_path / "trunk.pt")
    floats = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    assert all(torch.equal(state[name], tensor) for name, tensor in floats.items())


OTHER_ORDER: dict[str, tuple[Callable[[State, State], State], str]] = {
    "bias before weight": (
        lambda one, _: dict(sorted(renamed(one).items(), key=lambda item: "bias" not in item[0])),
        r"in place of 0.0.weight, 4 × 1 × 3 × 3, it has layer2.bias, 4",
    ),
    "a batch norm's own exchanged": (
        lambda one, _: renamed({name: one[name] for name in exchanged(list(one), "0.1.weight", "0.1.bias")}),
        r"in place of 0.1.weight, 4, it has layer1.bias, 4",
    ),
    "too few": (lambda one, _: dict(list(renamed(one).items())[:9]), "1.1.running_mean is missing"),
    "two networks": (lambda one, two: renamed(one | before("again.", two)), "it holds more than one network"),
}


def exchanged(names: list[str], one: str, other: str) -> list[str]:
    return [{one: other, other: one}.get(name, name) for name in names]


@pytest.mark.parametrize(("change", "sentence"), OTHER_ORDER.values(), ids=OTHER_ORDER)
def test_no_order_is_guessed(tmp_path: Path, change: Callable[[State, State], State], sentence: str) -> None:
    torch.save(change(*states()), tmp_path / "trunk.pt")
    with pytest.raises(ValueError, match=rf"not weights of this trunk; {sentence}$"):
        load(conv4(1, width=4), tmp_path / "trunk.pt")
