"""Faults that are planted into the training, and the smallest change that is none, for `make calibrate`.

Each is a context in which `bench.job.run.run` trains wrongly; the job, its key and the hash of its data stay what they
are, as they do when a program has such a fault.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch

from bench import datasets, store
from bench.datasets.split import Split
from bench.job import fit as fitting
from bench.job import run as running
from bench.job.optimizer import Rates
from bench.matrix.job import Job

__all__ = ["CLEAN", "FAULTS", "ONE_ULP", "UNNORMALISED", "Condition", "folder", "prepare", "train"]

SHUFFLED = 0.05


class Condition(NamedTuple):
    """One way to train."""

    label: str
    context: Callable[[], Any]
    touches: tuple[str, ...] = ()
    """Names of the objectives in which it changes something; none for all."""


@contextmanager
def clean() -> Iterator[None]:
    yield


@contextmanager
def one_ulp() -> Iterator[None]:
    """The first initial weight of the trunk is the next larger number."""

    def built(*args: Any, **options: Any) -> Any:
        model, objective = build(*args, **options)
        first = next(model.parameters()).data.view(-1)
        first[0] = torch.nextafter(first[0], first.new_tensor(torch.inf))
        return model, objective

    build = fitting.build
    with patch.object(fitting, "build", built):
        yield


@contextmanager
def frozen_proxies() -> Iterator[None]:
    """The optimizer does not get the objective's own tensors: proxies and class weights stay as they began."""

    def without(model: Any, objective: Any, *args: Any, **options: Any) -> Any:
        found = optimizer(model, objective, *args, **options)
        own = {id(tensor) for tensor in objective.parameters()}
        for group in found.param_groups:
            group["params"] = [tensor for tensor in group["params"] if id(tensor) not in own]
        return found

    optimizer = fitting.optimizer
    with patch.object(fitting, "optimizer", without):
        yield


@contextmanager
def turned_margin() -> Iterator[None]:
    """Every margin has the other sign."""

    def built(*args: Any, **options: Any) -> Any:
        model, objective = build(*args, **options)
        for module in objective.modules():
            if "margin" in getattr(module, "settings", {}):
                module.settings["margin"] *= -1
        return model, objective

    build = fitting.build
    with patch.object(fitting, "build", built):
        yield


@contextmanager
def smaller_rates() -> Iterator[None]:
    with patch.object(fitting, "Rates", lambda *rates: Rates(*(rate / 10 for rate in rates))):
        yield


def with_split(change: Callable[[Split], Split]) -> Callable[[], Any]:
    """A context in which every split is changed; what is seen of its hash is not."""

    @contextmanager
    def context() -> Iterator[None]:
        load = datasets.load
        with patch.object(datasets, "load", lambda *asked: change(load(*asked))):
            yield

    return context


def shuffled_labels(split: Split) -> Split:
    """Some training images change labels among themselves, the same ones in every run."""
    draw = np.random.default_rng(0)
    labels = split.train.labels.copy()
    some = draw.permutation(len(labels))[: round(SHUFFLED * len(labels))]
    labels[some] = labels[draw.permutation(some)]
    return split._replace(train=split.train._replace(labels=labels))


def without_last_class(split: Split) -> Split:
    """Its training images are not there."""
    train = split.train
    kept = train.labels < len(train.classes) - 1
    texts = train.texts and train.texts[:-1]
    fewer = train._replace(
        images=train.images[kept], labels=train.labels[kept], classes=train.classes[:-1], texts=texts
    )
    return split._replace(train=fewer)


PROXIES = ("normalized_softmax", "proxy_anchor", "arc_face", "slices")
MARGINS = ("triplet", "proxy_anchor", "arc_face", "slices")

CLEAN = Condition("clean", clean)
ONE_ULP = Condition("one ulp", one_ulp)
UNNORMALISED = Condition("embeddings compared without L2 normalisation", clean)
"""Trained by `train` together with CLEAN, from which it differs at test time alone."""
FAULTS = (
    Condition("proxies left out of the optimizer", frozen_proxies, PROXIES),
    Condition("sign of the margin turned", turned_margin, MARGINS),
    Condition("5 % of the training labels shuffled", with_split(shuffled_labels)),
    Condition("learning rates × 0.1", smaller_rates),
    Condition("one training class dropped", with_split(without_last_class)),
)
"""Those that need a training of their own."""
BY_LABEL = {one.label: one for one in (CLEAN, ONE_ULP, *FAULTS)}


def folder(home: Path, condition: Condition) -> Path:
    return home / condition.label.replace(" ", "_").replace("%", "percent").replace("×", "times")


def prepare() -> None:
    """What a worker of the harness does before its first job."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)


@contextmanager
def both_ways(seen: list[Any]) -> Iterator[None]:
    """Training as it is; `seen` gets what it fitted, with the embeddings as they were before normalisation."""
    raw: list[torch.Tensor] = []

    def embedded(*args: Any, **options: Any) -> torch.Tensor:
        with patch("bench.job.embed.compared", lambda _, embeddings: embeddings):
            raw.append(embed(*args, **options))
        return embed(*args, **options)

    def fitted(*args: Any, **options: Any) -> Any:
        found = fit(*args, **options)
        test, training = raw
        seen.append(found._replace(snapshot=found.snapshot._replace(embeddings=test, training=training)))
        return found

    embed, fit = fitting.embed, running.fit
    with patch.object(fitting, "embed", embedded), patch.object(running, "fit", fitted):
        yield


def train(label: str, job: Job, home: Path) -> None:
    """Train a job under a condition, and store it below `home` as the harness would."""
    condition, seen = BY_LABEL[label], []
    where = {"data": None, "results": home, "device": torch.device("cpu")}
    with condition.context(), both_ways(seen) if condition is CLEAN else clean():
        result = running.run(job, **where)
    if seen:
        with patch.object(running, "fit", lambda *_, **__: seen[0]):
            store.write(folder(home, UNNORMALISED), running.run(job, **where))
    store.write(folder(home, condition), result)
