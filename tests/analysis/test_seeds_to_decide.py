"""Seeds that two methods still need, from rows whose scores and times a test chooses."""

import math
from pathlib import Path

import numpy as np
import pytest
from support.jobs import BACKBONE, DATASET, RECIPE
from support.stored import finished

import bench
from bench import store
from bench.analysis.methods_of_rows import Source
from bench.analysis.seeds_to_decide import SeedsToDecide, seeds_to_decide
from bench.analysis.two_methods import NothingToCompare
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError, Job
from bench.store.queries import Queries

MEANS = {"triplet": 0.60, "contrastive": 0.59, "proxy_nca": 0.30, "both": 0.605, "normalized_softmax": 0.5}
FUSED = {"name": "concatenate", "label": "both", "members": ["triplet", "contrastive"]}
SECONDS = {"triplet": 100.0, "contrastive": 200.0, "both": 1.0}


def jobs(seeds: int = 3) -> tuple[Job, ...]:
    losses = [name for name in MEANS if name != "both"]
    base = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": losses, "recipe": RECIPE, "seeds": seeds}
    return expand(Matrix.model_validate({**base, "model_ensembles": [FUSED]}))


def stored(folder: Path, seeds: int = 3, *, leave_out: str = "") -> Path:
    """A folder with rows of all jobs."""
    draws = np.random.default_rng(0)
    for job in jobs(seeds):
        label = job.objective.label
        result = finished(job, recall_at_1=MEANS[label] + draws.normal(0, 0.02))
        row = result.row.model_copy(update={"seconds": SECONDS.get(label, 10.0)})
        if label != leave_out:
            store.write(folder, result._replace(row=row))
    return folder


def ask(folder: Path, a: str, b: str, *, seeds: int = 3, metric: str = "recall_at_1") -> SeedsToDecide:
    rows = store.load(folder) if folder.exists() else store.empty()
    (found,) = seeds_to_decide(a, b, source=Source(folder, rows, jobs(seeds)), matrix="demo", metric=metric)
    return found


def test_seeds_and_hours_follow_from_the_comparison_and_the_stored_times(tmp_path: Path) -> None:
    found = ask(stored(tmp_path), "triplet", "contrastive")
    (pair,) = bench.compare("triplet", "contrastive", results=tmp_path).boards[0].pairs
    assert found.seeds == (3, 3)
    assert not found.decided
    assert found.needed == (max(pair.needed.low, 4), pair.needed.high) == (found.needed.low, math.inf)
    further = found.needed.low - 3
    assert found.hours == pytest.approx((further * (100 + 200) / 3600, 57 * (100 + 200) / 3600))
    assert found.sentences[-1].startswith(f"Seeds still needed: {further:.0f} to more than 57 of triplet and ")
    assert found.sentences[-1].endswith("more than 4.8 hours of one worker, by stored times.")


def test_an_ensemble_costs_what_its_members_cost_once(tmp_path: Path) -> None:
    found = ask(stored(tmp_path), "both", "triplet")
    assert math.isinf(found.needed.high)
    assert found.hours.high == pytest.approx(57 * (1 + 100 + 200) / 3600)


def test_seeds_that_are_there_cost_nothing(tmp_path: Path) -> None:
    """The members of the ensemble have two seeds more than it has."""
    stored(tmp_path)
    for job in jobs(5)[: 4 * 5]:
        if job.objective.label in ("triplet", "contrastive") and job.seed > 2:
            result = finished(job, recall_at_1=0.6)
            row = result.row.model_copy(update={"seconds": SECONDS[job.objective.label]})
            store.write(tmp_path, result._replace(row=row))
    found = ask(tmp_path, "both", "triplet")
    assert found.seeds == (3, 5)
    assert math.isinf(found.needed.high)
    assert found.hours.high == pytest.approx((57 * 1 + 55 * (100 + 200)) / 3600)
    assert "to more than 57 of both and " in found.sentences[-1]
    assert "to more than 55 of triplet; " in found.sentences[-1]


def test_what_is_decided_needs_nothing(tmp_path: Path) -> None:
    found = ask(stored(tmp_path, 5), "triplet", "proxy_nca", seeds=5)
    assert found.decided
    assert math.isnan(found.needed.low)
    assert found.hours == (0, 0)
    assert found.sentences[-1] == "No more seeds are needed."


def test_rows_of_another_matrix_do_not_count(tmp_path: Path) -> None:
    alone = ask(stored(tmp_path), "triplet", "contrastive")
    for job in jobs():
        other = job.changed(recipe=job.recipe.model_copy(update={"epochs": 7}))
        store.write(tmp_path, finished(other, recall_at_1=0.9))
    assert repr(ask(tmp_path, "triplet", "contrastive")) == repr(alone)


def test_where_classes_alone_exceed_the_gap_no_number_of_seeds_settles_it(tmp_path: Path) -> None:
    """Each of two methods is good at its own half of the classes."""
    draws = np.random.default_rng(0)
    for job in jobs():
        shares = np.full(20, 0.5) + (0.3 if job.objective.name == "triplet" else -0.3) * np.resize([1, -1], 20)
        hits = draws.random((20, 50)) < shares[:, None] + draws.normal(0, 0.005)
        queries = Queries(np.repeat(np.arange(20), 50), np.where(hits.ravel(), 1, 3).astype(np.int32), {}, None, None)
        store.write(tmp_path, finished(job, recall_at_1=float(hits.mean()))._replace(queries=queries))
    found = ask(tmp_path, "triplet", "contrastive")
    assert found.classes_exceed
    assert any("On new classes no number of seeds settles it" in sentence for sentence in found.sentences)


@pytest.mark.parametrize(
    ("a", "b", "sentence"),
    [
        ("triplet", "triplet", "--decide: 'triplet' is compared with itself; name two methods"),
        ("tripled", "contrastive", "there is no method 'tripled'"),
        ("triplet", "contrastive", "there is no score 'recall_at_3'"),
    ],
)
def test_wrong_requests(tmp_path: Path, a: str, b: str, sentence: str) -> None:
    stored(tmp_path, 2)
    with pytest.raises(ConfigError) as error:
        ask(tmp_path, a, b, metric="recall_at_3" if "score" in sentence else "recall_at_1")
    assert sentence in str(error.value)


def test_too_little_is_stored(tmp_path: Path) -> None:
    advice = "run two seeds first: bench run demo --seeds 2"
    with pytest.raises(NothingToCompare, match=f"has no results of 'triplet' in the matrix demo; {advice}"):
        ask(tmp_path / "nowhere", "triplet", "contrastive")
    stored(tmp_path / "part", leave_out="both")
    with pytest.raises(NothingToCompare, match=f"has no results of 'both' in the matrix demo; {advice}"):
        ask(tmp_path / "part", "triplet", "both")
    stored(tmp_path / "one", 1)
    with pytest.raises(NothingToCompare, match=f"one seed has no verdict.*{advice}"):
        ask(tmp_path / "one", "triplet", "contrastive", seeds=1)
