"""Arguments of losses and ensembles: what the matrix refuses, a direct call refuses too, from the same annotations."""

import inspect
import math
from functools import partial

import numpy as np
import pytest
from support.sample_batches import shape

from bench.matrix.catalogue import check, entries
from losses import pnp, ranked_list, sum, triplet, weighted
from losses.arguments import wanted
from losses.shape import Shape, Unsuitable

PARTS = {**entries("losses"), **entries("ensembles")}
VALUES = (-1, -1.0, 0, 0.0, 0.5, 1, 1.0, 2, 3.15, 71, 1001, 10**6, True, "x", "all", "semihard", "Dq", None)
SEQUENCES = ([], [0.5, 1], [0.5, "x"], [True], ["x"])


@pytest.mark.parametrize("name", PARTS)
def test_a_direct_call_allows_what_the_matrix_allows(name: str) -> None:
    """The matrix is checked by pydantic, on the same annotations."""
    signature = inspect.signature(PARTS[name].function())
    for parameter in PARTS[name].parameters:
        for value in (*VALUES, *SEQUENCES):
            try:
                check(PARTS[name], {parameter: value})
            except ValueError:
                allowed = False
            else:
                allowed = True
            reason = wanted(value, signature.parameters[parameter].annotation)
            assert (reason is None) == allowed, (parameter, value, reason)


@pytest.mark.parametrize("name", PARTS)
def test_every_part_refuses_what_its_parameters_cannot_be(name: str) -> None:
    members = [[triplet]] if PARTS[name].kind == "ensembles" else []
    build = partial(PARTS[name].function(), shape(), *members)
    for parameter in PARTS[name].parameters:
        with pytest.raises(ValueError, match=rf"^{name}: {parameter} = .* is not possible; it should be \S"):
            build(**{parameter: {}})
    with pytest.raises(TypeError, match=f"{name} has no parameter 'no_such_thing'"):
        build(no_such_thing=1)
    with pytest.raises(TypeError, match=f"{name} needs a Shape first"):
        PARTS[name].function()(128, *members)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (
            partial(triplet, mining="semi-hard"),
            "triplet: mining = 'semi-hard' is not possible; it should be 'semihard', 'hard', 'all', 'batch_hard' or "
            "'easy_positive'; did you mean 'semihard'?",
        ),
        (partial(pnp, variant="PNP"), "it should be 'O', 'Iu', 'Ib', 'Ds' or 'Dq'"),
        (partial(ranked_list, form="TPAMI"), "it should be 'tpami' or 'cvpr'; did you mean 'tpami'?"),
        (partial(triplet, margin=0), "triplet: margin = 0 is not possible; it should be greater than 0"),
        (partial(triplet, margin=math.nan), "it should be a number"),
        (partial(triplet, band=-1.0), "it should be greater than 0 or None"),
        (partial(triplet, squared=1), "it should be True or False"),
        (partial(sum, members=[triplet], weights=1.0), "it should be a list in which each is a number or None"),
    ],
)
def test_the_sentence_says_what_is_possible(build, sentence: str) -> None:
    with pytest.raises(ValueError, match="is not possible") as error:
        build(Shape(8, 3))
    assert str(error.value).endswith(sentence)


def test_a_misspelt_argument_is_answered_with_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"triplet has no parameter 'margn'; did you mean 'margin'\?"):
        triplet(shape(), margn=0.1)


def test_numbers_of_numpy_are_numbers() -> None:
    assert triplet(shape(), margin=np.float32(0.5)).settings["margin"] == 0.5
    assert PARTS["fast_ap"].function()(shape(), bins=np.int64(5)).settings["bins"] == 5


def test_members_are_functions_not_modules() -> None:
    with pytest.raises(TypeError, match="weighted builds its members: give it functions such as triplet"):
        weighted(shape(), [triplet(shape())])


def test_what_does_not_suit_the_dataset_is_said_as_before() -> None:
    with pytest.raises(Unsuitable, match="text"):
        PARTS["adaptive_additive"].function()(Shape(8, 3))
