"""Jobs on embeddings that are there already: the same as on a frozen trunk that gives them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.jobs import tiny

from bench import datasets
from bench.job.backbones import conv4
from bench.job.cannot_build import refusals
from bench.job.features import features
from bench.job.run import run

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
STILL = {"rotation": 0, "zoom": 0, "shift": 0}


@pytest.fixture
def frozen(tmp_path):
    """A job on a frozen trunk, and the file of what that trunk gives."""
    torch.manual_seed(3)
    torch.save(conv4(1, width=8).state_dict(), tmp_path / "conv4.pt")
    backbone = {"name": "conv4", "width": 8, "weights": str(tmp_path / "conv4.pt"), "frozen": True}
    job, *_ = tiny(backbones=[backbone], recipe=STILL)
    kept = features(job, datasets.load(job.dataset, None), CPU).split
    sides = {"train": kept.train, "test": kept.test}
    np.savez(
        tmp_path / "vectors.npz",
        embeddings=np.concatenate([side.images for side in sides.values()]),
        label=np.concatenate([[f"{name} {label:03d}" for label in side.labels] for name, side in sides.items()]),
        split=np.repeat(list(sides), [len(side.labels) for side in sides.values()]),
    )
    return job, str(tmp_path / "vectors.npz")


def stored(file, recipe=STILL, **changes):
    dataset = {"name": "embeddings", "path": file}
    return tiny(**{"datasets": [dataset], "backbones": ["identity"], **changes}, recipe=recipe)


@pytest.mark.parametrize("loss", ["triplet", "proxy_anchor", {"name": "arc_face", "scale": 20}])
def test_a_frozen_trunk_and_its_stored_embeddings_give_the_same_bits(frozen, loss):
    job, file = frozen
    (one,) = [other for other in tiny(backbones=[_written(job)], recipe=STILL, losses=[loss]) if other.kind == "loss"]
    (other,) = [other for other in stored(file, losses=[loss]) if other.kind == "loss"]
    results = [run(each, data=None, results=Path(), device=CPU) for each in (one, other)]
    assert [result.row.status for result in results] == ["done", "done"]
    assert np.array_equal(results[0].embeddings, results[1].embeddings)
    assert results[0].row.scores == results[1].row.scores


def _written(job):
    return {"name": job.backbone.name, **job.backbone.parameters}


def test_every_board_of_stored_embeddings_has_the_embeddings_alone(frozen):
    alone = [job for job in stored(frozen[1]) if job.kind == "floor"]
    assert [job.objective.parameters["transform"] for job in alone] == ["none", "standardised", "whitened"]
    for job in alone:
        assert run(job, data=None, results=Path(), device=CPU).row.status == "done"


@pytest.mark.parametrize(
    ("backbone", "sentence"), [("conv4", 'conv4 does not take embeddings: set backbones = ["identity"]')]
)
def test_a_trunk_does_not_take_embeddings(frozen, backbone, sentence):
    (said,) = refusals(stored(frozen[1], backbones=[backbone]), None)
    assert said.endswith(sentence)


def test_identity_does_not_take_pictures():
    (said,) = refusals(tiny(backbones=["identity"]), None)
    assert said.endswith("identity does not take pictures: set another backbone")


def test_an_epoch_may_draw_a_part_of_large_data(frozen):
    (job,) = [one for one in stored(frozen[1], {**STILL, "images_per_epoch": 50}) if one.kind == "loss"]
    history = run(job, data=None, results=Path(), device=CPU).history
    assert [entry["images"] for entry in history] == [48, 48]


def test_classes_held_out_choose_an_epoch_of_vectors_too(frozen):
    validated = {**STILL, "validation": {"share": 0.4}, "classes_per_batch": 4, "select": "validation"}
    (job,) = [one for one in stored(frozen[1], validated) if one.kind == "loss"]
    assert run(job, data=None, results=Path(), device=CPU).row.status == "done"
