"""Where a search tries values: within what is allowed, around the default, and nowhere that a loss breaks."""

from inspect import signature
from itertools import product
from typing import get_args

import pytest
import torch
from torch.nn import functional as F

import losses
from bench.matrix.catalogue import entries
from losses import Shape
from losses.arguments import wanted
from losses.tuned import Tuned

WITHOUT = {"p2s_grad", "dynamic_soft_margin"}
"""Losses that have no hyper-parameter, which is their papers' point."""


def tuned(name):
    """Parameter -> bounds, as Python has them; the catalogue reads them from the source."""
    found = signature(getattr(losses, name)).parameters.values()
    pairs = [(one, next((b for b in get_args(one.annotation) if isinstance(b, Tuned)), None)) for one in found]
    return {one.name: (one, bounds) for one, bounds in pairs if bounds}


def test_every_loss_says_what_its_paper_tunes_but_those_that_have_nothing_to_tune():
    assert {name for name in entries("losses") if not tuned(name)} == WITHOUT


@pytest.mark.parametrize("name", [*entries("losses"), *entries("ensembles")])
def test_what_the_source_says_is_what_the_function_has(name):
    entry = entries("losses").get(name) or entries("ensembles")[name]
    assert {p.name: p.tuned for p in entry.parameters.values() if p.tuned} == {
        parameter: bounds for parameter, (_, bounds) in tuned(name).items()
    }


@pytest.mark.parametrize("name", [*entries("losses"), *entries("ensembles")])
def test_bounds_are_allowed_and_hold_the_default(name):
    for parameter, bounds in tuned(name).values():
        low, high, log = bounds
        assert low <= parameter.default <= high
        assert low < high
        assert wanted(low, parameter.annotation) is None
        assert wanted(high, parameter.annotation) is None
        assert low > 0 or not log


@pytest.mark.parametrize("name", sorted(set(entries("losses")) - WITHOUT))
def test_a_loss_is_finite_and_teaches_at_every_corner_of_its_bounds(name):
    torch.manual_seed(0)
    text = F.normalize(torch.randn(4, 6), dim=1) if "text" in entries("losses")[name].needs else None
    labels = torch.arange(4).repeat_interleave(3)
    spaces = tuned(name)
    for corner in product(*((bounds.low, bounds.high) for _, bounds in spaces.values())):
        embeddings = torch.randn(12, 12, requires_grad=True)
        loss = getattr(losses, name)(Shape(12, 4, text, 3), **dict(zip(spaces, corner, strict=True)))
        value = loss(embeddings, labels)
        value.backward()
        assert torch.isfinite(value), corner
        assert torch.isfinite(embeddings.grad).all(), corner


@pytest.mark.parametrize("name", entries("ensembles"))
def test_an_ensemble_says_whether_it_trains_something_of_its_own(name):
    """That of losses is held to be true by their contract tests; `triplet` and `contrastive` train nothing."""
    members = [losses.triplet] if name == "cross_batch_memory" else [losses.triplet, losses.contrastive]
    built = getattr(losses, name)(Shape(12, 4, None, 3), members)
    assert bool(list(built.parameters())) == bool(entries("ensembles")[name].trains)
