"""What runs on a node, here on this machine: the actor is a plain class, and nothing of this needs Ray."""

from contextlib import contextmanager

import pytest
from support.jobs import tiny

import bench
from bench.execute.ray_node import Host, sight, unfit
from bench.execute.worker import Limits, Outlook, Setup
from bench.matrix.plugin_file import Plugin

ENDLESS = {"name": "triplet", "recipe": {"epochs": 10**7}}


@contextmanager
def host(results, **limits):
    """An actor, whose process ends with the test."""
    made = Host(Setup("cpu", 1, results, None, limits=Limits(**limits)))
    try:
        yield made
    finally:
        made.worker.kill()
        made.worker.bury()


def until(made, kind, job=None):
    """All that an actor says up to the first news of this kind, perhaps of a job that it is given now."""
    said = [] if job is None else made.run(job)
    while kind not in [news.kind for news in said]:
        said += made.news()
    return said


def test_an_actor_tells_of_its_job_what_a_worker_does_and_can_stop_it(tmp_path):
    (job, endless) = tiny(losses=["contrastive", ENDLESS])
    with host(tmp_path) as made:
        assert made.refuse([job, endless]) == Outlook([], [])
        told = [(news.kind, news.epochs) for news in until(made, "done", job)]
        assert told == [("epoch", 1), ("epoch", 2), ("done", 2)]
        assert made.news() == []  # without a job it has nothing to say, and does not wait
        until(made, "epoch", endless)
        made.stop()
        assert until(made, "stopped")[-1].kind == "stopped"
    assert bench.load(tmp_path)["key"].tolist() == [job.key]


def test_a_job_that_kills_its_process_has_failed_and_the_actor_runs_the_next_one(tmp_path):
    (endless, job) = tiny(losses=[ENDLESS, "contrastive"])
    with host(tmp_path) as made:
        until(made, "epoch", endless)
        made.worker.process.kill()
        assert "was killed (SIGKILL)" in until(made, "failed")[-1].reason
        until(made, "done", job)
    rows = bench.load(tmp_path).set_index("key")
    assert rows.loc[[endless.key, job.key], "status"].tolist() == ["failed", "done"]


def test_what_cannot_be_built_is_said_by_the_actor(tmp_path):
    jobs = tiny(ensembles=[{"name": "sum", "members": ["triplet"], "weights": [1.0, 2.0]}])
    with host(tmp_path) as made:
        assert "2 weights for 1 members" in made.refuse(jobs).refused[0]


def test_an_address_that_is_out_of_reach_is_said_by_the_actor(tmp_path):
    made = Host(Setup("cpu", 1, tmp_path, None, address="nothing://bucket/runs"))
    try:
        (error,) = made.run(tiny()[0])
    finally:
        made.worker.kill()
        made.worker.bury()
    assert str(error).startswith("nothing://bucket/runs: no such protocol")


def test_a_node_that_sees_the_same_is_fit_and_the_marker_is_gone_afterwards(tmp_path):
    data = tmp_path / "data"
    (data / "cub").mkdir(parents=True)
    with sight(Setup("cpu", 1, tmp_path, data)) as seen:
        assert unfit(seen) == []
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("here", [True, False])
def test_a_folder_of_results_that_is_another_one_is_told(tmp_path, here):
    """One of the same name may be there: it lacks the marker."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    if here:
        ours.mkdir()
    with sight(Setup("cpu", 1, theirs, None)) as seen:
        (sentence,) = unfit(seen._replace(results=ours))
    assert sentence.startswith(f"it does not see the folder of results {ours}: name a folder that all nodes share")


def test_a_node_that_reaches_the_address_of_results_needs_no_folder_of_them(tmp_path):
    setup = Setup("cpu", 1, tmp_path, None, address=f"file://{tmp_path}/far")
    with sight(setup) as seen:
        assert unfit(seen._replace(results=tmp_path / "nowhere")) == []
        (other,) = unfit(seen._replace(address=f"file://{tmp_path}/other"))
        (none,) = unfit(seen._replace(address="nothing://bucket"))
    assert other.startswith(f"it sees other results at file://{tmp_path}/other")
    assert none.startswith("it cannot use the address of results: nothing://bucket: no such protocol")
    assert list((tmp_path / "far").iterdir()) == []


def test_data_that_a_node_lacks_is_named(tmp_path):
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    (theirs / "sop").mkdir(parents=True)
    with sight(Setup("cpu", 1, tmp_path, theirs)) as seen:
        for data in (ours, tmp_path):
            (sentence,) = unfit(seen._replace(data=data))
            assert sentence.startswith(f"it does not see sop in the data folder {data}")


def test_a_plugin_that_a_node_does_not_see_is_named(tmp_path):
    file = tmp_path / "mine.py"
    plugin = Plugin("mine.py", file, "mine", tmp_path, b"", "")
    with sight(Setup("cpu", 1, tmp_path, None, plugins=(plugin,))) as seen:
        assert unfit(seen) == [f"it does not see the plugin {file}: put it where all nodes see it"]


def test_other_versions_are_named(tmp_path):
    with sight(Setup("cpu", 1, tmp_path, None)) as seen:
        other = {**seen.versions, "torch": "1.0", "faiss-cpu": None}
        (sentence,) = unfit(seen._replace(versions=other))
    torch, faiss = seen.versions["torch"], seen.versions["faiss-cpu"]
    assert sentence.startswith(f"it has torch {torch} instead of 1.0, faiss-cpu {faiss} instead of none: install")


def test_other_versions_can_be_allowed(tmp_path):
    with sight(Setup("cpu", 1, tmp_path, None), any_versions=True) as seen:
        assert seen.versions == {}
        assert unfit(seen) == []
