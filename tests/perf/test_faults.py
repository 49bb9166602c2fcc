"""Every planted fault changes what it says it changes, and nothing else; nothing of it stays behind."""

from pathlib import Path

import pytest
from perf.faults import CLEAN, FAULTS, ONE_ULP, UNNORMALISED, folder, train
from support.jobs import tiny

import bench

pytestmark = pytest.mark.usefixtures("one_thread")

JOBS = tiny(
    losses=["triplet", "multi_similarity", "normalized_softmax", "proxy_anchor", "arc_face"],
    ensembles=[{"name": "slices", "members": ["triplet", "normalized_softmax"]}],
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    for job in JOBS:
        train("clean", job, place)
    return place


def hashes(home: Path, condition: object) -> dict[str, str]:
    rows = bench.load(folder(home, condition))
    return dict(zip(rows["objective"], rows["embeddings_sha"], strict=True))


@pytest.mark.parametrize("condition", [ONE_ULP, *FAULTS], ids=lambda one: one.label)
def test_it_changes_the_objectives_that_it_touches(home: Path, condition: object) -> None:
    for job in JOBS:
        train(condition.label, job, home)
    clean, other = hashes(home, CLEAN), hashes(home, condition)
    changed = {label.partition("[")[0] for label in clean if clean[label] != other[label]}
    assert changed == set(condition.touches or (job.objective.name for job in JOBS))


def test_without_normalisation_the_training_is_the_same_and_the_embeddings_have_other_norms(home: Path) -> None:
    clean, other = hashes(home, CLEAN), hashes(home, UNNORMALISED)
    assert clean.keys() == other.keys()
    assert not set(clean.values()) & set(other.values())


def test_nothing_stays_behind(home: Path, tmp_path: Path) -> None:
    """The last of all tests: the same bits again, after every fault."""
    train("clean", JOBS[2], tmp_path)
    label = JOBS[2].objective.label
    assert hashes(tmp_path, CLEAN)[label] == hashes(home, CLEAN)[label]
