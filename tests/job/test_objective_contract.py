"""The checks of `bench test-plugin` hold for all our own losses and ensembles, and find what each is there to find."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench.job.objective_contract import CHECKS, Broken
from bench.matrix.catalogue import own_entries
from losses.proxy import proxy_anchor
from losses.triplets import triplet

LOSSES, ENSEMBLES = own_entries("losses"), own_entries("ensembles")
ORDER = "the order of the batch does not matter"


@pytest.mark.parametrize("name", [*LOSSES, *ENSEMBLES])
def test_our_own_objectives_keep_the_contract_that_plugins_are_put_to(name: str) -> None:
    entry = {**LOSSES, **ENSEMBLES}[name]
    members = [triplet] if name == "cross_batch_memory" else [triplet, proxy_anchor]
    make = partial(entry.function(), members=members) if name in ENSEMBLES else entry.function()
    for what, check in CHECKS.items():
        if what != ORDER or "in batch order" not in " ".join(entry.text.split()):
            check(make, "text" in entry.needs)


def _added(embeddings: Tensor) -> None:
    embeddings.data += 1


WRONG: dict[str, Callable[[Tensor, Tensor, Tensor], Any]] = {
    "shape": lambda distances, *_: distances,
    "number": lambda distances, *_: float(distances.detach().mean()),
    "writes": lambda distances, embeddings, _: [_added(embeddings), distances.mean()][1],
    "log": lambda distances, embeddings, _: distances.mean() + (embeddings - embeddings).log().mean(),
    "detached": lambda distances, embeddings, _: distances.sum() * 0 + embeddings.detach().mean(),
    "places": lambda distances, *_: (distances * torch.arange(len(distances))).mean(),
    "double": lambda distances, *_: distances.double().mean(),
    "random": lambda distances, *_: distances.mean() * next(COUNT),
    "root": lambda distances, embeddings, _: (embeddings[1:] - embeddings[:-1]).square().sum(1).sqrt().mean(),
    "nothing": lambda distances, _, labels: distances.mean() if len(labels.unique()) > 1 else torch.zeros(()),
}
"""What a careless loss returns, given the distances to its proxies, the embeddings and the labels."""


class Own(nn.Module):
    """A loss that does what it should, but for what `wrong` says."""

    def __init__(self, wrong: str) -> None:
        super().__init__()
        self.wrong = wrong
        self.lost = [nn.Parameter(torch.randn(6, 16))] if wrong == "lost" else []
        self.proxies = nn.Parameter(torch.randn(6, 16))
        self.spare = nn.Parameter(torch.zeros(3)) if wrong == "spare" else None
        self.seen = 0

    def forward(self, embeddings: Tensor, labels: Tensor) -> Any:
        proxies = self.lost[0] + self.proxies if self.lost else self.proxies
        distances = (embeddings - proxies[labels]).square().sum(1)
        self.seen += self.wrong == "counts"
        if self.seen:
            return distances.mean() / self.seen
        return WRONG[self.wrong](distances, embeddings, labels) if self.wrong in WRONG else distances.mean()


COUNT = iter(range(1, 10**6))


@pytest.mark.parametrize(
    ("wrong", "what", "said"),
    [
        ("shape", "a batch of P × K gives one finite number", "forward returns the shape [24]: return one number"),
        ("number", "a batch of P × K gives one finite number", "forward returns float: return a tensor"),
        ("writes", "a batch of P × K gives one finite number", "forward writes into the embeddings"),
        ("log", "a batch of P × K gives one finite number", "the value is -inf: keep roots, logarithms"),
        ("detached", "finite gradients reach the embeddings and all parameters", "no gradient reaches embeddings"),
        ("spare", "finite gradients reach the embeddings and all parameters", "no gradient reaches spare"),
        ("lost", "all trainable tensors are parameters of the module", "the shape [6, 16] is no parameter"),
        ("random", "the same seed gives the same bits", "two runs differ"),
        ("places", ORDER, "the same images in another order give"),
        ("counts", "continued from its state, it gives the same bits", "keep what changes while training in a buffer"),
        ("double", "float32 stays float32, and autocast does no harm", "float32 embeddings give torch.float64"),
        ("root", "a hard batch stays finite: all rows the same", "the gradient of embeddings is not finite"),
        ("nothing", "a hard batch stays finite: one class", "the value does not depend on the embeddings"),
    ],
)
def test_each_check_finds_what_it_is_there_to_find(wrong: str, what: str, said: str) -> None:
    with pytest.raises(Broken) as error:
        CHECKS[what](lambda _: Own(wrong), False)
    assert said in str(error.value)


def test_a_sound_loss_passes_all_of_them() -> None:
    for check in CHECKS.values():
        check(lambda _: Own(""), False)


def test_a_state_that_cannot_be_written_is_found() -> None:
    class Remembers(Own):
        def get_extra_state(self) -> Any:
            return {"seen": {1, 2}}

    with pytest.raises(Broken, match="its state holds set: let get_extra_state return tensors"):
        CHECKS["continued from its state, it gives the same bits"](lambda _: Remembers(""), False)


def test_what_breaks_by_itself_is_no_less_found() -> None:
    def of_few_classes(_shape: object) -> nn.Module:
        module = Own("")
        module.proxies = nn.Parameter(torch.randn(2, 16))
        return module

    with pytest.raises(IndexError):
        CHECKS["a batch may hold any of the classes"](of_few_classes, False)
    with pytest.raises(Broken, match=r"it returns float: return an nn\.Module"):
        CHECKS[ORDER](lambda _: 1.0, False)
