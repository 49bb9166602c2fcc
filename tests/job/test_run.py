import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from support.jobs import go, tiny

import bench
from bench import datasets, store
from bench.analysis.boards import boards
from bench.analysis.controls import controls
from bench.job.cannot_build import refusals
from bench.job.fit import _objective
from bench.job.provenance import contamination
from bench.job.watch import Terms
from losses.shape import Shape, Unsuitable

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
SCORES = ["recall_at_1", "recall_at_8", "map_at_r", "r_precision", "nmi", "ami"]


def test_a_job_leaves_a_row_with_scores_cost_and_provenance(tmp_path):
    (job,) = tiny()
    told = []
    result = go(job, tmp_path, terms=Terms(progress=told.append))
    row = bench.load(tmp_path).iloc[0]
    assert told == [1, 2]
    assert (row["status"], row["embedding_dim"], row["threads"]) == ("done", 16, 1)
    assert all(0 <= row[name] <= 1 for name in SCORES)
    assert row["seconds"] > row["seconds_train"] > 0
    assert row["images_per_second"] > 0
    assert row["peak_memory_mb"] > 50
    assert row["parameters"] == 1 * 8 * 9 + 3 * 8 * 8 * 9 + 4 * 2 * 8 + (8 * 16 + 16)
    assert row["torch"] == torch.__version__.partition("+")[0]
    assert row["dataset_sha"] == datasets.load(job.dataset, None).sha
    assert json.loads(row["recipe"])["dim"] == 16
    assert len(store.history(tmp_path)) == 2
    queries = store.read_queries(tmp_path, job.key)
    assert np.array_equal(queries.classes, datasets.load(job.dataset, None).test.labels)
    assert queries.neighbours.shape == queries.distances.shape == (32, 10)
    assert {name: each.mean() for name, each in queries.values.items()} == pytest.approx(
        {name: result.row.scores[name] for name in queries.values}
    )
    assert np.allclose(np.linalg.norm(store.embeddings(tmp_path, job.key), axis=1), 1, atol=1e-5)


def test_the_row_is_what_evaluate_says_of_the_stored_embeddings(tmp_path):
    (job,) = tiny()
    result = go(job, tmp_path)
    labels = datasets.load(job.dataset, None).test.labels
    again = bench.evaluate(store.embeddings(tmp_path, job.key), labels, restarts=2)
    for name in ("recall_at_1", "recall_at_8", "map_at_r", "r_precision", "recall_at_1_chance", "queries"):
        assert again[name] == pytest.approx(result.row.scores[name])


def test_the_same_job_gives_the_same_bits(tmp_path):
    (job,) = tiny(losses=["proxy_anchor"])
    torch.manual_seed(1)
    first = go(job, tmp_path / "a")
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    second = go(job, tmp_path / "b")
    assert np.array_equal(first.embeddings, second.embeddings)
    assert first.row.scores == second.row.scores
    assert hashes(first) == hashes(second)


def hashes(result):
    return result.row.embeddings_sha, result.row.first_hits_sha


def test_a_row_has_the_hashes_of_its_embeddings_and_first_hits(tmp_path):
    results = [go(job, tmp_path) for job in tiny(seeds=2, floors=["pixels"])]
    for result in results[:2]:
        stored = store.embeddings(tmp_path, result.row.key), store.read_queries(tmp_path, result.row.key).first_hit
        assert hashes(result) == tuple(hashlib.sha256(array.tobytes()).hexdigest() for array in stored)
    assert hashes(results[2]) == hashes(results[3]) != (None, None)  # a floor does not depend on the seed
    assert len(set(map(hashes, results))) == 3


def test_an_order_without_embeddings_has_a_hash(tmp_path):
    fused = {"name": "rank_fusion", "members": ["triplet", "contrastive"]}
    results = [go(job, tmp_path) for job in tiny(losses=["triplet", "contrastive"], model_ensembles=[fused])]
    assert results[-1].embeddings is None
    assert len(set(map(hashes, results))) == 3
    assert None not in hashes(results[-1])


def test_every_loss_sees_the_same_batches(tmp_path, monkeypatch):
    seen = []
    from bench.job import fit as module

    original = module.train

    def spy(training, epochs, **options):
        hashed = [[hashlib.sha256(images.numpy().tobytes()).hexdigest() for images, _ in epoch] for epoch in epochs]
        seen.append((hashed, [tensor.sum().item() for tensor in training.model.state_dict().values()]))
        return original(training, [], **options)

    monkeypatch.setattr(module, "train", spy)
    for job in tiny(losses=["contrastive", "proxy_anchor", "arc_face"]):
        go(job, tmp_path)
    assert len(seen[0][0]) == 2
    assert seen[0] == seen[1] == seen[2]


def test_seeds_differ(tmp_path):
    one, two = (go(job, tmp_path) for job in tiny(seeds=2))
    assert not np.array_equal(one.embeddings, two.embeddings)


def test_no_epoch_evaluates_the_untrained_network(tmp_path):
    (job,) = tiny(recipe={"epochs": 0})
    result = go(job, tmp_path)
    assert result.row.status == "done"
    assert result.row.images_per_second is None
    assert result.history == ()


def test_a_job_that_turns_nan_is_diverged_with_its_epoch(tmp_path):
    (job,) = tiny(recipe={"trunk_rate": 1e30, "head_rate": 1e30, "epochs": 4})
    result = go(job, tmp_path)
    assert result.row.status == "diverged"
    assert f"in epoch {len(result.history)} of 4" in result.row.reason
    assert result.row.scores == {}
    assert result.embeddings is None


def test_an_ensemble_of_slices_is_read_slice_by_slice(tmp_path):
    (job,) = tiny(losses=[], ensembles=[{"name": "slices", "members": ["triplet", "proxy_nca"]}])
    embeddings = go(job, tmp_path).embeddings
    halves = np.linalg.norm(embeddings[:, :8], axis=1), np.linalg.norm(embeddings[:, 8:], axis=1)
    assert np.allclose(halves, 2**-0.5, atol=1e-5)


def test_a_model_ensemble_is_the_fused_embeddings_of_its_members(tmp_path):
    jobs = tiny(
        losses=["triplet", "contrastive"],
        model_ensembles=[{"name": "concatenate", "members": ["triplet", "contrastive"]}],
    )
    one, two, both = (go(job, tmp_path) for job in jobs)
    expected = np.concatenate([one.embeddings, two.embeddings], axis=1) / 2**0.5
    assert np.allclose(both.embeddings, expected, atol=1e-6)
    assert (both.row.kind, both.row.members, both.row.embedding_dim) == (
        "model_ensemble",
        ("triplet", "contrastive"),
        32,
    )


def test_a_model_ensemble_without_a_member_is_skipped_with_the_reason(tmp_path):
    jobs = tiny(
        losses=["triplet", "contrastive"],
        model_ensembles=[{"name": "concatenate", "members": ["triplet", "contrastive"]}],
    )
    go(jobs[0], tmp_path)
    result = go(jobs[2], tmp_path)
    assert result.row.status == "skipped"
    assert "its member 'contrastive' has no embeddings" in result.row.reason


def test_training_images_are_embedded_alike_for_every_loss_and_seed(tmp_path):
    jobs = tiny(losses=["triplet", "contrastive"], seeds=2)
    for job in jobs:
        go(job, tmp_path)
    images = len(datasets.load(jobs[0].dataset, None).train.images)
    assert {store.training(tmp_path, job.key).shape for job in jobs} == {(images, 16)}


def test_an_ensemble_leaves_what_its_members_did_in_every_epoch(tmp_path):
    inner = {"name": "sum", "members": ["contrastive", "proxy_nca"], "weights": [0.5, 2.0], "label": "inner"}
    (job,) = tiny(losses=[], ensembles=[{"name": "weighted", "members": ["triplet", inner]}])
    go(job, tmp_path)
    found = store.members(tmp_path)
    members = ["triplet", "inner", "inner / contrastive", "inner / proxy_nca"]
    assert found.groupby("epoch")["member"].apply(list).to_dict() == {1: members, 2: members}
    last = found[found["epoch"] == 2].set_index("member")
    assert (last["value"] > 0).all()
    expected = 0.5 * last["value"]["inner / contrastive"] + 2 * last["value"]["inner / proxy_nca"]
    assert last["value"]["inner"] == pytest.approx(expected, rel=1e-5)
    assert last["weight"][["inner / contrastive", "inner / proxy_nca"]].tolist() == [0.5, 2.0]
    assert last["weight"][["triplet", "inner"]].sum() == pytest.approx(1, abs=0.1)
    assert last["running_mean"].notna().tolist() == [True, True, False, False]


def test_a_loss_has_no_members(tmp_path):
    assert go(tiny()[0], tmp_path).members == ()


@pytest.mark.parametrize("ensemble", ["sum", "weighted", "slices"])
def test_a_member_that_cannot_be_built_names_itself(tmp_path, ensemble):
    group = {"name": "group", "anchors": 4, "label": "greedy group"}
    inner = {"name": "sum", "members": ["triplet", group], "label": "inner"}
    jobs = tiny(losses=[], ensembles=[{"name": ensemble, "members": ["contrastive", inner]}])
    (sentence,) = refusals(jobs, None)
    assert "member 'inner': member 'greedy group': " in sentence
    assert "anchors" in sentence


def test_a_member_that_does_not_suit_the_data_names_itself():
    (job,) = tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet", "adaptive_additive"]}])
    with pytest.raises(Unsuitable, match="member 'adaptive_additive': "):
        _objective(job.objective, Shape(16, 12, images_per_class=4))


@pytest.mark.parametrize("alone", ["triplet", "proxy_anchor", "normalized_softmax"])
def test_members_of_weight_one_and_zero_train_as_the_first_alone(tmp_path, alone):
    weighed = {"name": "sum", "members": [alone, "proxy_nca"], "weights": [1.0, 0.0]}
    loss, ensemble = (go(job, tmp_path) for job in tiny(losses=[alone], ensembles=[weighed]))
    assert np.array_equal(loss.embeddings, ensemble.embeddings)
    assert loss.row.scores == ensemble.row.scores
    assert [epoch["loss"] for epoch in loss.history] == [epoch["loss"] for epoch in ensemble.history]


def fused(name, members, **options):
    losses = ["triplet", "contrastive", "proxy_nca"]
    return tiny(losses=losses, model_ensembles=[{"name": name, "members": members, **options}], seeds=2)


@pytest.mark.parametrize("name", ["concatenate", "mean_similarity", "rank_fusion"])
@pytest.mark.parametrize("options", [{}, {"seeds": 2}], ids=["losses", "seeds"])
def test_model_ensembles_fuse_losses_and_seeds(tmp_path, name, options):
    for job in fused(name, ["triplet", "contrastive"], **options):
        result = go(job, tmp_path)
    row = result.row
    assert (row.status, row.members) == (
        "done",
        ("triplet", "triplet", "contrastive", "contrastive") if options else ("triplet", "contrastive"),
    )
    assert 0 < row.scores["recall_at_1"] <= 1
    if name == "rank_fusion":
        assert (row.embedding_dim, row.scores["nmi"]) == (None, None)
    else:
        assert row.embedding_dim == 16 * len(row.members)
        assert store.training(tmp_path, row.key).shape[1] == row.embedding_dim


@pytest.mark.parametrize("name", ["concatenate", "mean_similarity", "rank_fusion"])
def test_a_missing_member_skips_the_model_ensemble_and_is_named(tmp_path, name):
    jobs = fused(name, ["triplet", "proxy_nca"])
    for job in jobs:
        if job.objective.name != "proxy_nca":
            result = go(job, tmp_path)
    assert (result.row.status, result.row.reason) == (
        "skipped",
        "its member 'proxy_nca' has no embeddings: it failed or diverged",
    )


def test_a_control_reduces_an_ensemble_with_what_its_training_images_teach(tmp_path):
    jobs = fused("concatenate", ["triplet", "contrastive"])
    for job in jobs:
        go(job, tmp_path)
    for control in controls(jobs, bench.load(tmp_path)):
        row = go(control, tmp_path).row
        assert (row.kind, row.status) == ("control", "done")
        assert row.embedding_dim == (32 if control.recipe.dim == 32 else 16)
    rows = bench.load(tmp_path)
    (board,) = boards(rows)
    (gained,) = board.gains
    assert None not in (gained.gain, gained.reduced, gained.grown, gained.longer)
    assert (gained.size, gained.cost) == (2, 2)
    assert controls(jobs, rows) == controls(jobs, rows[rows["kind"] != "control"])


@pytest.mark.parametrize(
    ("name", "parameters", "grade"),
    [
        ("timm/resnet18.a1_in1k", {}, None),
        ("timm/resnet18.a1_in1k", {"pretrained": True}, "none known: "),
        ("timm/resnet18.a1_in1k", {"weights": __file__}, "unknown: the weights are a local file"),
        ("conv4", {"weights": __file__}, "unknown: the weights are a local file"),
    ],
)
def test_the_row_says_what_the_trunk_may_have_seen(name, parameters, grade):
    job = tiny(backbones=[{"name": name, **parameters}])[0]
    found = contamination(job, datasets.load(job.dataset, None))
    assert found["near_duplicates"] is None  # letters are not compared
    assert found["overlap"] is None if grade is None else found["overlap"].startswith(grade)


def test_a_floor_has_seen_nothing_whatever_the_trunk_beside_it():
    _, floor, *_ = tiny(backbones=[{"name": "conv4", "weights": __file__}], floors=["pixels"])
    assert floor.objective.name == "pixels"
    assert contamination(floor, datasets.load(floor.dataset, None))["overlap"] is None


def test_a_bare_name_means_the_weights_that_timm_would_load():
    named, bare = (tiny(backbones=[{"name": f"timm/resnet18{tag}", "pretrained": True}])[0] for tag in (".a1_in1k", ""))
    split = datasets.load(named.dataset, None)
    assert contamination(named, split) == contamination(bare, split)
    assert "unknown: what the weights" not in str(contamination(bare, split)["overlap"])


def test_near_duplicates_of_photos_are_counted_in_the_row(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    draws = np.random.default_rng(0)
    coarse = draws.integers(0, 256, (24, 6, 6, 3), dtype=np.uint8)
    photos = [Image.fromarray(one).resize((64, 64), Image.Resampling.BICUBIC) for one in coarse]
    photos[20] = photos[0].resize((60, 60)).resize((64, 64))
    for index, photo in enumerate(photos):
        place = tmp_path / ("train" if index < 12 else "test") / f"class {index // 3}"
        place.mkdir(parents=True, exist_ok=True)
        photo.save(place / f"{index}.png")
    (job,) = tiny(
        datasets=[{"name": "folder", "path": str(tmp_path), "size": 64}], recipe={"epochs": 0, "classes_per_batch": 3}
    )
    go(job, tmp_path / "results")
    assert bench.load(tmp_path / "results")["near_duplicates"].tolist() == [1]
