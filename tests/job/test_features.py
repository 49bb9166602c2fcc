"""A frozen trunk: what is kept of it, by whom it is computed, and what trains on it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler, normalize
from support.jobs import go, tiny

from bench import datasets
from bench.job.backbones import conv4
from bench.job.cannot_build import refusals
from bench.job.features import CHUNK, features, probe
from bench.job.run import run
from bench.matrix.job import ConfigError

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
STILL = {"rotation": 0, "zoom": 0, "shift": 0}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path):
    """A file of weights of a narrow Conv-4."""
    torch.manual_seed(3)
    torch.save(conv4(1, width=8).state_dict(), tmp_path / "conv4.pt")
    return str(tmp_path / "conv4.pt")


def frozen(file, recipe=STILL, **changes):
    backbone = {"name": "conv4", "width": 8, "weights": file, "frozen": True, **changes}
    return tiny(backbones=[backbone], recipe=recipe, floors=["pixels"])


def job_of(jobs, name, **parameters):
    (found,) = [
        one for one in jobs if one.objective.name == name and parameters.items() <= one.objective.parameters.items()
    ]
    return found


def by_hand(split, weights, pool):
    """Pooled features of every picture of the training side, each alone through the trunk."""
    trunk = conv4(1, width=8)
    trunk.load_state_dict(torch.load(weights, weights_only=True))
    trunk.eval()
    images = torch.from_numpy(np.array(split.train.images)).permute(0, 3, 1, 2).float() / 255
    normal = (images - images.mean((0, 2, 3))) / images.std((0, 2, 3))
    with torch.no_grad():
        return torch.cat([pool(trunk(one[None])) for one in normal])


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("average", lambda maps: maps.mean((2, 3))),
        ("max", lambda maps: maps.amax((2, 3))),
        ("flatten", lambda maps: maps.flatten(1)),
        ("gem", lambda maps: maps.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)),
    ],
)
def test_features_are_what_the_trunk_makes_of_each_picture(weights, pooling, pool):
    job = job_of(frozen(weights, pooling=pooling), "triplet")
    split = datasets.load(job.dataset, None)
    kept = features(job, split, CPU)
    assert np.allclose(kept.split.train.images, by_hand(split, weights, pool), atol=1e-5)
    assert len(kept.split.test.images) == len(split.test.labels)
    assert kept.parameters == sum(one.numel() for one in conv4(1, width=8).parameters())


def test_what_is_kept_is_not_computed_again(weights):
    job = job_of(frozen(weights), "triplet")
    split = datasets.load(job.dataset, None)
    told = []
    first = features(job, split, CPU, lambda *far: told.append(far))
    assert told[-1] == (len(split.train.labels) + len(split.test.labels),) * 2
    told.clear()
    again = features(job, split, CPU, lambda *far: told.append(far))
    assert told == []
    assert np.array_equal(first.split.test.images, again.split.test.images)


def test_jobs_that_differ_behind_the_trunk_share_its_features_and_others_do_not(weights, own_cache):
    split = datasets.load(frozen(weights)[0].dataset, None)
    for change in ({}, {"norm": "batch"}, {"head": "mlp", "hidden": 8}, {"head": "none"}):
        features(job_of(frozen(weights, **change), "triplet"), split, CPU)
    assert len(list(own_cache.glob("features-*"))) == 1
    features(job_of(frozen(weights, pooling="max"), "triplet"), split, CPU)
    Path(weights).write_bytes(b"")
    torch.save(conv4(1, width=8).state_dict(), weights)
    features(job_of(frozen(weights), "triplet"), split, CPU)
    assert len(list(own_cache.glob("features-*"))) == 3


def test_a_damaged_folder_is_computed_anew(weights, own_cache):
    job = job_of(frozen(weights), "triplet")
    split = datasets.load(job.dataset, None)
    first = np.array(features(job, split, CPU).split.train.images)
    (folder,) = own_cache.glob("features-*")
    (folder / "train.npy").write_bytes(b"no array")
    assert np.array_equal(features(job, split, CPU).split.train.images, first)
    assert not list(own_cache.glob(".writing-*"))


SLOW = """
import sys, time, torch
from bench import datasets
from bench.job import features
from bench.matrix.job import Job
features.CHUNK = 8
job = Job.model_validate_json(sys.argv[1])
split = datasets.load(job.dataset, None)
through = features._through
def slowly(*args):
    time.sleep(0.05)
    print("chunk", flush=True)
    return through(*args)
features._through = slowly
torch.set_num_threads(1)
found = features.features(job, split, torch.device("cpu"))
print("sum", float(found.split.train.images.sum()), flush=True)
"""


def started(job):
    command = [sys.executable, "-c", SLOW, job.model_dump_json()]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)


def test_a_killed_process_loses_one_chunk_and_two_at_once_write_one_folder(weights, own_cache):
    job = job_of(frozen(weights), "triplet")
    chunks = sum(-(-len(part.labels) // 8) for part in datasets.load(job.dataset, None)[:2])
    first = started(job)
    seen = [first.stdout.readline() for _ in range(4)]
    first.send_signal(signal.SIGKILL)
    first.wait()
    seen += first.communicate()[0].splitlines()
    done = len([line for line in seen if "chunk" in line])
    both = [started(job), started(job)]
    said = [one.communicate()[0].splitlines() for one in both]
    assert len({lines[-1] for lines in said}) == 1
    assert said[0][-1].startswith("sum ")
    computed = sum("chunk" in line for lines in said for line in lines)
    assert chunks - done <= computed <= 2 * chunks - done
    assert [folder.name[:9] for folder in own_cache.glob("*features*")] == ["features-"]


def test_training_on_kept_features_equals_training_a_head_on_the_frozen_trunk(weights):
    """The same head on the same numbers, by hand: the first losses agree."""
    job = job_of(frozen(weights, {**STILL, "epochs": 3}), "triplet")
    result = run(job, data=None, results=Path(), device=CPU)
    assert result.row.status == "done"
    assert result.row.provenance.weights_sha
    assert len({round(entry["loss"], 9) for entry in result.history}) == 3
    assert result.embeddings.shape[1] == 16


def test_views_are_augmented_and_drawn_anew_in_every_batch(weights):
    moving = {"rotation": 20, "zoom": 0.1, "shift": 0.1}
    job = job_of(frozen(weights, moving, views=3), "triplet")
    split = datasets.load(job.dataset, None)
    kept = features(job, split, CPU)
    count = len(split.train.labels)
    assert kept.views.shape == (3 * count, 8)
    views = np.asarray(kept.views).reshape(3, count, 8)
    plain = np.asarray(kept.split.train.images)
    # They are views of the same pictures: nearer to their own picture than to those of other classes, on average.
    own = np.linalg.norm(views - plain, axis=2).mean()
    other = np.linalg.norm(plain[:, None] - plain[None], axis=2)[
        split.train.labels[:, None] != split.train.labels
    ].mean()
    assert 0 < own < other
    assert np.abs(views[0] - views[1]).max() > 0
    one, other = (run(job, data=None, results=Path(), device=CPU) for _ in range(2))
    assert np.array_equal(one.embeddings, other.embeddings)


def test_levels_stand_side_by_side_and_share_out_the_embedding(weights):
    job = job_of(frozen(weights, levels=2), "triplet")
    kept = features(job, datasets.load(job.dataset, None), CPU)
    assert kept.widths == (8, 8)
    assert run(job, data=None, results=Path(), device=CPU).embeddings.shape[1] == 16


def test_the_floors_of_a_trunk_are_those_of_scikit_learn(weights, tmp_path):
    jobs = frozen(weights)
    split = datasets.load(jobs[0].dataset, None)
    kept = features(jobs[0], split, CPU).split
    train, test = np.asarray(kept.train.images, np.float64), np.asarray(kept.test.images, np.float64)
    expected = {
        "none": test,
        "standardised": StandardScaler().fit(train).transform(test),
        "whitened": PCA(whiten=True).fit(train).transform(test),
    }
    for transform, vectors in expected.items():
        row = go(job_of(jobs, "trunk", transform=transform), tmp_path).row
        unit = normalize(vectors)
        similar = unit @ unit.T - 9 * np.eye(len(unit))
        found = (kept.test.labels[similar.argmax(1)] == kept.test.labels).mean()
        assert row.scores["recall_at_1"] == pytest.approx(found)


def test_a_floor_of_the_trunk_says_which_weights_it_looked_at_and_one_of_pixels_does_not(weights, tmp_path):
    jobs = tiny(backbones=[{"name": "conv4", "width": 8, "weights": weights}], floors=["pixels"], recipe={"epochs": 0})
    trained, pixels, trunk, *_ = [go(job, tmp_path).row.provenance for job in jobs]
    assert trunk.weights_sha == trained.weights_sha is not None
    assert trunk.weights_source == trained.weights_source == "local file conv4.pt"
    assert (pixels.weights_sha, pixels.weights_source) == (None, None)


def test_every_board_of_a_pretrained_trunk_has_the_trunk_alone_and_no_other_has(weights):
    def forms(jobs):
        return [one.objective.parameters["transform"] for one in jobs if one.objective.name == "trunk"]

    assert forms(frozen(weights)) == ["none", "standardised", "whitened"]
    assert forms(tiny(floors=["pixels"])) == []
    asked = tiny(backbones=[{"name": "conv4", "weights": weights}], floors=[{"name": "trunk", "label": "alone"}])
    assert forms(asked) == ["none", "standardised", "whitened"]
    assert next(one.objective.label for one in asked if one.objective.name == "trunk") == "alone"


@pytest.mark.parametrize(
    ("backbone", "recipe", "sentence"),
    [
        ({"weights": None}, STILL, "frozen = true would freeze random weights; add pretrained = true, or weights ="),
        ({}, {}, "add --set recipe.rotation=0 --set recipe.zoom=0 --set recipe.shift=0, or keep augmented views"),
        ({"views": 2}, STILL, "views = 2 would keep 2 equal views, since the recipe does not augment"),
        ({"freeze_stages": 2}, STILL, "frozen = true freezes all stages; remove freeze_stages, or frozen"),
        ({"frozen": False, "views": 2}, {}, "views = 2 belongs to frozen = true"),
    ],
)
def test_what_does_not_go_with_a_frozen_trunk_is_refused(weights, backbone, recipe, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)) as error:
        frozen(weights, recipe, **backbone)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        ({"head": "mlp"}, 'head = "mlp" needs hidden = ..., the width of its first layer: add it'),
        ({"hidden": 8}, 'head = "linear" has no hidden layer: remove it'),
        ({"head": "none"}, "triplet has nothing to train: the trunk is frozen and has no head; add a head"),
    ],
)
def test_what_cannot_be_built_on_a_frozen_trunk_is_refused(weights, backbone, sentence):
    assert any(sentence in said for said in refusals(frozen(weights, **backbone), None))


def test_a_frozen_trunk_is_built_once_before_training_and_nothing_goes_through_it(weights, own_cache, monkeypatch):
    built = []
    monkeypatch.setattr("bench.job.cannot_build.probe", lambda *args: (built.append(args), probe(*args))[1])
    backbone = {"name": "conv4", "width": 8, "weights": weights, "frozen": True}
    jobs = tiny(backbones=[backbone], recipe=STILL, losses=["triplet", "contrastive", "margin"], seeds=2)
    assert refusals(jobs, None) == []
    assert len(built) == 1
    assert not list(own_cache.glob("*features*"))


def test_an_mlp_learns(weights):
    job = job_of(frozen(weights, head="mlp", hidden=8), "triplet")
    assert run(job, data=None, results=Path(), device=CPU).row.status == "done"


def test_chunks_do_not_change_what_is_kept(weights, monkeypatch):
    job = job_of(frozen(weights), "triplet")
    split = datasets.load(job.dataset, None)
    whole = np.array(features(job, split, CPU).split.train.images)
    assert len(whole) < CHUNK
    monkeypatch.setattr("bench.job.features.CHUNK", 7)
    monkeypatch.setattr("bench.job.features.LAYOUT", 0)
    assert np.allclose(features(job, split, CPU).split.train.images, whole, atol=1e-6)
