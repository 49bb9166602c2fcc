"""A job whose embeddings are points of hyperbolic space: what compares them follows, or says that it cannot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import typer
from support.brute_force import hyperbolic, hyperbolic_order, scores
from support.jobs import go, tiny
from typer.testing import CliRunner

import bench
from bench import datasets, store
from bench.analysis.complement import study
from bench.cli.evaluate import evaluate
from bench.cli.exit_codes import guarded
from bench.job.checkpoint import packed, unpacked
from bench.job.fit_result import Fitted
from bench.job.fusion import InBall, Stored
from bench.matrix.catalogue import check, entries
from bench.matrix.job import ConfigError, Job
from losses.shape import Unsuitable

pytestmark = pytest.mark.usefixtures("one_thread")

FUSIONS = {name: entry for name, entry in entries("model_ensembles").items() if name != "rank_fusion"}
app = typer.Typer(pretty_exceptions_enable=False)
guarded(app)(evaluate)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Job, ...]]:
    """A hyperbolic loss, two others, and model ensembles of them, run."""
    fused = [{"name": name, "members": ["hyperbolic", "triplet"]} for name in ("concatenate", "rank_fusion")]
    alone = [{"name": "concatenate", "members": ["hyperbolic"]}]
    jobs = tiny(losses=["hyperbolic", "triplet", "contrastive"], model_ensembles=[*fused, *alone])
    results = tmp_path_factory.mktemp("results")
    for job in jobs:
        go(job, results)
    return results, jobs


def labels_of(job: Job) -> np.ndarray:
    return datasets.load(job.dataset, None).test.labels


def test_the_row_is_what_brute_force_says_of_the_stored_points(run: tuple[Path, tuple[Job, ...]]) -> None:
    results, (job, *_) = run
    points, labels = store.embeddings(results, job.key), labels_of(job)
    order = hyperbolic_order(points)
    expected = scores(labels[order] == labels[:, None], ks=(1, 8))
    row = bench.load(results).set_index("key").loc[job.key]
    assert np.linalg.norm(points, axis=1).max() < 1
    assert np.ptp(np.linalg.norm(points, axis=1)) > 0.01, "so the distance matters"
    assert row["distance"] == "hyperbolic"
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert row[["nmi", "ami", "nmi_chance"]].isna().all()


def test_galleries_show_its_neighbours_and_distances(run: tuple[Path, tuple[Job, ...]]) -> None:
    results, (job, *_) = run
    points, found = store.embeddings(results, job.key), store.read_queries(results, job.key)
    order = hyperbolic_order(points)[:, :10]
    assert np.array_equal(found.neighbours, order)
    np.testing.assert_allclose(found.distances, np.take_along_axis(hyperbolic(points), order, 1).astype(float), 1e-5)


def test_fusions_follow_it_or_say_why_not(run: tuple[Path, tuple[Job, ...]]) -> None:
    results, (own, _, _, concatenated, fused, alone) = run
    rows = bench.load(results).set_index("key")
    assert rows.loc[concatenated.key, "status"] == "skipped"
    assert "is compared by hyperbolic distance" in rows.loc[concatenated.key, "reason"]
    assert rows.loc[fused.key, "status"] == "done"
    assert pd.isna(rows.loc[fused.key, "distance"])
    same = ["recall_at_1", "map_at_r", "distance", "embeddings_sha"]
    assert rows.loc[alone.key, same].tolist() == rows.loc[own.key, same].tolist()


@pytest.mark.parametrize("name", FUSIONS)
def test_what_weighs_or_averages_vectors_refuses_them(name: str) -> None:
    points = [np.random.default_rng(seed).normal(size=(40, 8)).astype(np.float32) / 10 for seed in range(3)]
    other, curved = Stored(*points), InBall(*points)
    options = check(FUSIONS[name], {"dim": 4} if FUSIONS[name].parameters.keys() & {"dim"} else {})
    with pytest.raises(Unsuitable, match="member 2 of 2 is compared by hyperbolic distance"):
        FUSIONS[name].function()([other, curved], **options)


def test_folds_side_by_side_are_skipped(tmp_path: Path) -> None:
    (job,) = tiny(losses=["hyperbolic"], recipe={"validation": {"folds": 2}, "classes_per_batch": 4})
    row = go(job, tmp_path).row
    assert (row.status, "which hyperbolic distance does not outlast" in str(row.reason)) == ("skipped", True)


def test_held_out_classes_are_searched_by_it(tmp_path: Path) -> None:
    """The last epoch's look at the test is what the row says in the end."""
    (job,) = tiny(losses=["hyperbolic"], recipe={"validation": {"share": 0.3}, "classes_per_batch": 4})
    result = go(job, tmp_path)
    assert result.history[-1]["test_map_at_r"] == pytest.approx(result.row.scores["map_at_r"])


def test_a_checkpoint_keeps_it_and_an_older_one_means_euclidean() -> None:
    snapshot = {"epoch": 1, "score": 0.5, "embeddings": torch.ones(2, 2), "training": torch.ones(1, 2)}
    state = {"history": (), "members": (), "snapshot": snapshot, "parameters": 3, "weights_sha": None}
    cpu, tensors = torch.device("cpu"), {}
    kept = Fitted.of(state | {"distance": "hyperbolic"}, cpu)
    assert Fitted.of(unpacked(packed(kept.state_dict(), tensors), tensors), cpu).distance == "hyperbolic"
    assert Fitted.of(state, cpu).distance == "euclidean"


def test_evaluate_takes_the_distance_from_the_folder_of_the_job(run: tuple[Path, tuple[Job, ...]]) -> None:
    results, (job, *_) = run
    np.save(results / "labels.npy", labels_of(job))
    call = ["evaluate", str(results / job.key), str(results / "labels.npy")]
    (found,) = json.loads(CliRunner().invoke(app, [*call, "--json"], catch_exceptions=False).stdout)["conventions"]
    row = bench.load(results).set_index("key").loc[job.key]
    assert found["scores"]["map_at_r"] == pytest.approx(row["map_at_r"])
    assert found["scores"]["nmi"] is None
    other = CliRunner().invoke(app, [*call, "--json", "--distance", "euclidean"], catch_exceptions=False)
    (found,) = json.loads(other.stdout)["conventions"]
    assert found["scores"]["nmi"] is not None
    refused = CliRunner().invoke(app, [*call, "--convention", "pml"], catch_exceptions=False)
    assert (refused.exit_code, "pml has no hyperbolic distance" in refused.output) == (2, True)
    refused = CliRunner().invoke(app, [*call, "--diagnostics"], catch_exceptions=False)
    assert (refused.exit_code, "the diagnostics are of cosine similarity" in refused.output) == (2, True)


def test_complement_leaves_it_out_and_says_so(run: tuple[Path, tuple[Job, ...]]) -> None:
    results, jobs = run
    (found,) = study(jobs, {jobs[0].dataset.label: datasets.load(jobs[0].dataset, None)}, results)
    assert found.labels == ("triplet", "contrastive")
    assert found.missing == ("hyperbolic is compared by hyperbolic distance, not by cosine; left out.",)


def test_points_outside_the_ball_are_refused_in_one_sentence() -> None:
    points = np.eye(3, dtype=np.float32) * [[0.5], [0.5], [1.0]]
    with pytest.raises(ValueError, match=r"row 3 of the queries has the norm 1: give such points"):
        bench.evaluate(points, [0, 0, 1], distance="hyperbolic")


def test_a_row_from_before_means_euclidean(run: tuple[Path, tuple[Job, ...]], tmp_path: Path) -> None:
    results, (job, *_) = run
    shutil.copytree(results / job.key, tmp_path / job.key)
    file = tmp_path / job.key / "row.parquet"
    pq.write_table(pq.read_table(file).drop_columns("distance"), file)
    assert store.distance(results, job.key) == "hyperbolic"
    assert store.distance(tmp_path, job.key) == "euclidean"
    row = pq.read_table(results / job.key / "row.parquet")
    wrong = row.set_column(row.column_names.index("distance"), "distance", [["manhattan"]])
    pq.write_table(wrong, file)
    with pytest.raises(ConfigError, match="its row has \"manhattan\" for 'distance'"):
        store.distance(tmp_path, job.key)
