import json
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
import torch
from support.jobs import BACKBONE, go, tiny

import bench
from bench import datasets, store
from bench.datasets.held_out import folds
from bench.job.batches import epochs
from bench.job.checkpoint import packed, unpacked
from bench.job.embed import embed
from bench.job.fit import begin, pictures
from bench.job.floors import pixels
from bench.job.run import run
from bench.job.train import Snapshot, train
from bench.job.watch import Terms
from bench.matrix.catalogue import entries

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
VALIDATED = {"validation": {"share": 0.25}, "select": "validation", "epochs": 3, "classes_per_batch": 4}


def test_the_epoch_that_held_out_classes_select_is_the_one_that_counts(tmp_path):
    """Found again by training anew and stopping there: the schedule is constant, so the epochs before are the same."""
    recipe = {**VALIDATED, "schedule": "constant", "head_rate": 0.3, "trunk_rate": 0.1}
    (job,) = tiny(recipe=recipe)
    result = go(job, tmp_path)
    seen = [epoch["validation_map_at_r"] for epoch in result.history]
    best = int(np.argmax(seen)) + 1
    assert result.row.epoch == (best,)
    (stopped,) = tiny(recipe={**recipe, "epochs": best, "select": "last"})
    again = run(stopped, data=None, results=tmp_path, device=CPU)
    assert np.array_equal(result.embeddings, again.embeddings)
    assert np.array_equal(result.training, again.training)
    scores = result.row.scores
    assert scores["recall_at_1"] == scores["recall_at_1_selected"] == result.history[best - 1]["test_recall_at_1"]
    assert scores["recall_at_1_oracle"] == max(epoch["test_recall_at_1"] for epoch in result.history)
    assert scores["recall_at_1_last"] == result.history[-1]["test_recall_at_1"]
    assert scores["validation_map_at_r"] == max(seen)


def test_a_late_epoch_may_be_worse_than_the_one_selected(tmp_path):
    """The selection must be able to differ from the last epoch, or the test above could not fail."""
    picked = set()
    for rate in (0.01, 0.1, 1.0):
        recipe = {**VALIDATED, "schedule": "constant", "head_rate": rate, "trunk_rate": rate, "epochs": 4}
        (job,) = tiny(recipe=recipe)
        picked.add(run(job, data=None, results=tmp_path, device=CPU).row.epoch)
    assert len(picked) > 1


def test_looking_changes_nothing_in_training(tmp_path):
    (looked,), (blind,) = (
        tiny(recipe={**VALIDATED, "select": "last", "validate_every": every}) for every in (1, 100)
    )  # fmt: skip
    one, other = (run(job, data=None, results=tmp_path, device=CPU) for job in (looked, blind))
    assert np.array_equal(one.embeddings, other.embeddings)
    assert [np.isnan(epoch["test_map_at_r"]) for epoch in other.history] == [True, True, False]


def test_what_is_held_out_is_scored_as_brute_force_does(tmp_path):
    (job,) = tiny(recipe={**VALIDATED, "select": "last"})
    split = datasets.load(job.dataset, None)
    (fold,) = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    result = run(job, data=None, results=tmp_path, device=CPU)
    images = pictures(split, job.recipe, CPU)
    training = begin(job, images, fold)
    list(train(training, epochs(images.draw, fold.labels, job.recipe, draws=training.generators)))
    points = (
        embed(training.model, training.objective, images.train, torch.from_numpy(fold.held_out)).numpy().astype(float)
    )
    labels = split.train.labels[fold.held_out]
    distances = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    expected = (labels[distances.argmin(1)] == labels).mean()
    assert result.row.scores["validation_recall_at_1"] == pytest.approx(expected, abs=1e-9)


def test_folds_train_a_model_each_and_put_their_embeddings_side_by_side(tmp_path):
    (job,) = tiny(recipe={**VALIDATED, "validation": {"folds": 3}})
    told = []
    result = go(job, tmp_path, terms=Terms(progress=told.append))
    assert told == list(range(1, 10))
    assert result.row.embedding_dim == 3 * 16
    assert len(result.row.epoch) == 3
    assert np.allclose(np.linalg.norm(result.embeddings, axis=1), 1, atol=1e-6)
    parts = result.embeddings.reshape(-1, 3, 16)
    assert np.allclose(np.linalg.norm(parts, axis=2), 3**-0.5, atol=1e-6)
    assert len({part.tobytes() for part in parts.transpose(1, 0, 2)}) == 3
    found = store.history(tmp_path)
    assert found.groupby("model")["epoch"].apply(list).to_dict() == {number: [1, 2, 3] for number in range(3)}
    alone = found.groupby("model").apply(lambda one: one.loc[one["validation_map_at_r"].idxmax(), "test_recall_at_1"])
    assert result.row.scores["recall_at_1_selected"] == pytest.approx(alone.mean())


def test_a_fold_that_diverges_ends_the_job(tmp_path):
    (job,) = tiny(recipe={**VALIDATED, "validation": {"folds": 2}, "trunk_rate": 1e30, "head_rate": 1e30})
    result = go(job, tmp_path)
    assert result.row.status == "diverged"
    assert bench.load(tmp_path)["status"].tolist() == ["diverged"]


def test_crops_train_and_test_on_their_side(tmp_path):
    (job,) = tiny(backbones=[{**BACKBONE, "pooling": "flatten"}], recipe={"crop": 24})
    result = go(job, tmp_path)
    (whole,) = tiny(backbones=[{**BACKBONE, "pooling": "flatten"}])
    assert result.row.status == "done"
    assert result.row.parameters < go(whole, tmp_path).row.parameters  # fewer places to flatten


@pytest.mark.parametrize("kind", ["adam", "rmsprop", "sgd"])
def test_optimizers_learn_and_differ(tmp_path, kind):
    (job,) = tiny(losses=["normalized_softmax"], recipe={"optimizer": kind, "epochs": 3})
    (usual,) = tiny(losses=["normalized_softmax"], recipe={"epochs": 3})
    result, other = go(job, tmp_path), go(usual, tmp_path)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not np.array_equal(result.embeddings, other.embeddings)


def test_a_floor_needs_no_training(tmp_path):
    _, job = tiny(floors=[{"name": "pixels", "side": 8}])
    result = go(job, tmp_path)
    assert (result.row.status, result.row.kind, result.row.embedding_dim) == ("done", "floor", 64)
    assert result.row.seconds_train is None
    split = datasets.load(job.dataset, None)
    labels, points = split.test.labels, pixels(split, side=8).astype(float)
    distances = ((points[:, None] - points) ** 2).sum(-1)
    np.fill_diagonal(distances, np.inf)
    assert result.row.scores["recall_at_1"] == pytest.approx((labels[distances.argmin(1)] == labels).mean())
    assert result.embeddings is None


class Enough(Exception):
    """So many steps."""


def trained(job, count, state=None, steps=None):
    """The training of a job after some more epochs, or after so many steps, from its beginning or from a state."""
    split = datasets.load(job.dataset, None)
    (fold,) = folds(split.train.labels, job.recipe.validation, seed=job.seed)
    images = pictures(split, job.recipe, CPU)
    training = begin(job, images, fold)
    if state is not None:
        torch.manual_seed(0)  # what another job may have left behind
        training.load_state_dict(state)
    over = len(training.history), len(training.inside.losses) if training.inside else 0
    feed = epochs(images.draw, fold.labels, job.recipe, draws=training.generators, over=over)

    def after_step():
        if training.scheduler.last_epoch == steps:
            raise Enough

    with suppress(Enough):
        options = {"at_a_time": job.recipe.images_at_a_time, "after_step": after_step}
        for epoch in islice(train(training, feed, **options), count):
            training.history.append(epoch._asdict() | {"seconds": 0.0})
            training.inside = None
    return training


def written(training):
    """Its state as it is written in a checkpoint, and back."""
    tensors = {}
    text = json.dumps(packed(training.state_dict(), tensors))
    return unpacked(json.loads(text), tensors)


def same(one, other):
    """Whether two states are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


LOSSES = [name for name, entry in entries("losses").items() if "text" not in entry.needs]


def members_of(ensemble):
    """What every ensemble can be made of, with a member that draws from torch's own generator."""
    return ["contrastive"] if ensemble == "cross_batch_memory" else ["margin", "proxy_nca"]


@pytest.mark.parametrize(
    "changes",
    [
        *({"losses": [name]} for name in LOSSES),
        *({"losses": [], "ensembles": [{"name": name, "members": members_of(name)}]} for name in entries("ensembles")),
        {"recipe": {"optimizer": "sgd", "schedule": "step", "step_epochs": 1}},
        {"recipe": {"optimizer": "rmsprop", "warmup_epochs": 1.5}},
        {"recipe": {"optimizer": "adam", "flip": True, "crop": 24}},
        {"recipe": {"validation": {"share": 0.25}, "classes_per_batch": 4}},
        *({"recipe": {"head_epochs": epochs, "optimizer": kind}} for epochs in (1, 2.5) for kind in ("adamw", "sgd")),
        {"recipe": {"images_at_a_time": 7, "head_epochs": 3}, "losses": ["margin"]},
        {"backbones": [{**BACKBONE, "freeze_stages": 2}], "recipe": {"head_epochs": 1}},
    ],
    ids=str,
)
def test_a_training_continued_from_its_state_ends_with_the_same_bits(changes):
    """In the middle of an epoch."""
    (job,) = tiny(**{**changes, "recipe": {"epochs": 3, **changes.get("recipe", {})}})
    straight, half = trained(job, 3).state_dict(), written(trained(job, 3, steps=5))
    per_epoch = straight["scheduler"]["last_epoch"] // 3
    over, begun = divmod(5, per_epoch)
    assert (len(half["history"]), len(half["inside"]["losses"])) == (over, begun)
    assert begun
    assert same(trained(job, 3 - over, half).state_dict(), straight)


@pytest.mark.parametrize("steps", [1, 3, 4, 5])
def test_it_can_be_continued_after_any_step(steps):
    """After the last step of an epoch too, when its loss is not written down yet."""
    (job,) = tiny(losses=["margin"], recipe={"epochs": 2})
    half = written(trained(job, 2, steps=steps))
    assert same(trained(job, 2 - len(half["history"]), half).state_dict(), trained(job, 2).state_dict())


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd"}, {"images_at_a_time": 7}], ids=str)
def test_in_the_head_epochs_the_trunk_stays_as_it_is_and_everything_else_learns(changes):
    (job,) = tiny(losses=["proxy_nca"], recipe={"epochs": 4, "head_epochs": 2, **changes})
    start, two, three = (trained(job, count) for count in (0, 2, 3))
    assert same(two.model.trunk.state_dict(), start.model.trunk.state_dict())  # running statistics too
    before, after = [{**one.model.head.state_dict(), **one.objective.state_dict()} for one in (start, two)]
    assert not any(same(before[name], after[name]) for name in before)
    learned = [
        (name, two.model.trunk.state_dict()[name], tensor) for name, tensor in three.model.trunk.state_dict().items()
    ]
    assert not any(torch.equal(old, new) for _, old, new in learned)
    assert all(group["lr"] > 0 for group in two.optimizer.param_groups)


def test_part_of_an_epoch_may_be_the_heads():
    """Two and a half epochs of two steps: the trunk moves in the last step of the third one."""
    (job,) = tiny(recipe={"epochs": 3, "head_epochs": 2.5})
    (never,) = tiny(recipe={"epochs": 3, "head_epochs": 9})
    start, two, three, none = trained(job, 0), trained(job, 2), trained(job, 3), trained(never, 3)
    assert two.head_steps == round(2.5 * two.scheduler.last_epoch / 2)
    assert same(two.model.trunk.state_dict(), start.model.trunk.state_dict())
    assert same(none.model.trunk.state_dict(), start.model.trunk.state_dict())
    assert not same(three.model.trunk.state_dict(), start.model.trunk.state_dict())


def test_no_graph_of_the_trunk_is_kept_in_the_head_epochs():
    (job,) = tiny(recipe={"epochs": 2, "head_epochs": 1})
    seen = []
    training = trained(job, 0)
    training.model.trunk.register_forward_hook(lambda _trunk, _images, maps: seen.append(maps.requires_grad))
    images = torch.rand(24, 1, 32, 32), torch.arange(24) // 4
    list(train(training, [[images] * training.head_steps, [images]]))
    assert seen == [False] * training.head_steps + [True]


def test_images_at_a_time_is_what_the_recipe_says(tmp_path):
    """Without a layer that looks across the batch the embeddings are the same but for rounding."""
    backbone = {**BACKBONE, "frozen_batch_norm": True}
    one, other, larger = (
        go(tiny(backbones=[backbone], recipe={"images_at_a_time": number})[0], tmp_path) for number in (None, 5, 24)
    )
    assert one.row.key != other.row.key
    assert not np.array_equal(one.embeddings, other.embeddings)
    assert np.allclose(one.embeddings, other.embeddings, atol=1e-3)
    assert np.array_equal(one.embeddings, larger.embeddings)  # a batch of 24 is not split


def test_torchs_own_generator_is_part_of_the_state():
    """Or the test above could not fail for what draws from it: dropout, and miners such as that of `margin`."""
    (job,) = tiny(losses=["margin"], recipe={"epochs": 2})
    straight, half = trained(job, 2), written(trained(job, 1))
    half["torch"][0] = torch.Generator().manual_seed(7).get_state()
    assert not same(trained(job, 1, half).model.state_dict(), straight.model.state_dict())


def test_what_was_written_down_and_the_best_epoch_are_part_of_the_state():
    (job,) = tiny()
    one, other = trained(job, 1), trained(job, 0)
    one.members.append({"epoch": 1, "member": "triplet", "value": 0.5, "weight": None, "running_mean": None})
    one.best = Snapshot(1, 0.25, torch.ones(3, 2), torch.zeros(2, 2))
    other.load_state_dict(written(one))
    assert (other.history, other.members, other.best[:2]) == (one.history, one.members, (1, 0.25))
    assert same(other.best._asdict(), one.best._asdict())
