"""`bench.run(..., until=...)`: seeds look by look, with real trainings where it is about kills."""

import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.jobs import BACKBONE, DATASET, RECIPE, matrix_file
from support.stored import finished

import bench
from bench import store
from bench.execute import matrix_run
from bench.execute.event import ENDINGS, Event
from bench.execute.seeds_by_look import by_look
from bench.matrix.file import Matrix, load
from bench.matrix.job import ConfigError
from bench.store.row import failure

BENCH = str(Path(sys.executable).with_name("bench"))
ROOT = Path(__file__).parents[2]
MEANS = {"triplet": 0.6, "contrastive": 0.59, "proxy_nca": 0.3, "both": 0.6}
FUSED = {"name": "concatenate", "label": "both", "members": ["triplet", "contrastive"]}
UNTRAINED = {"name": "triplet", "label": "untrained", "recipe": {"epochs": 0}}
RULE = "leaders, alpha 0.05, at most 10 seeds, by recall_at_1"


def recall(job):
    """Some score that depends on the job alone."""
    noise = np.random.default_rng(int(job.key[-8:], 16)).normal(0, 0.02)
    return min(MEANS.get(job.objective.label, 0.5) + float(noise), 1.0)


def instant(take, jobs, conditions):
    """Another executor: it trains nothing and stores a score for each job."""
    while (job := take()) is not None:
        yield Event("started", job)
        store.write(conditions.results, finished(job, recall_at_1=recall(job)))
        yield Event("done", job)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)


def matrix(**changes):
    base = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": list(MEANS)[:3], "recipe": RECIPE}
    return Matrix.model_validate({**base, "controls": False, **changes})


def decisions(events):
    return [event.decision for event in events if event.kind == "decided"]


def ran(events):
    return {event.job.key for event in events if event.kind in ENDINGS}


@pytest.mark.usefixtures("at_once")
def test_what_cannot_lead_gets_no_more_seeds_and_every_row_is_marked(tmp_path):
    asked = matrix(floors=["pixels"], losses=[*list(MEANS)[:3], UNTRAINED], seeds=2)
    events = list(bench.run(asked, results=tmp_path, until="leaders"))
    rows = bench.load(tmp_path)
    seeds = rows.groupby("objective")["seed"].apply(list).map(sorted).to_dict()
    assert seeds["proxy_nca"] == [0, 1]
    assert len(seeds["triplet"]) > 2
    assert seeds["pixels"] == seeds["untrained"] == [0, 1]
    marked = set(rows.loc[rows["stopping"] == RULE, "objective"])
    unmarked = set(rows.loc[rows["stopping"].isna(), "objective"])
    assert (marked, unmarked) == (set(list(MEANS)[:3]), {"pixels", "untrained"})
    first, *_, last = decisions(events)
    assert first.seeds == 2
    assert any("proxy_nca drops out at 2 seeds" in sentence for sentence in first.sentences)
    assert not last.running
    planned = [event.job.key for event in events if event.kind == "planned"]
    assert len(planned) == len(set(planned)) == len(rows)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("rule", ["leaders", "order"])
def test_the_same_command_again_decides_the_same_and_runs_nothing(tmp_path, rule):
    asked = matrix(model_ensembles=[FUSED])
    events = list(bench.run(asked, results=tmp_path, until=rule))
    again = list(bench.run(asked, results=tmp_path, until=rule))
    assert decisions(again) == decisions(events)
    assert {event.kind for event in again} == {"stored", "decided"}


@pytest.mark.usefixtures("at_once")
def test_rows_of_all_seeds_lead_to_the_same_decisions_and_to_the_same_rows_of_the_matrix(tmp_path):
    asked = matrix(model_ensembles=[FUSED])
    events = list(bench.run(asked, results=tmp_path / "looked", until="leaders"))
    list(bench.run(asked, results=tmp_path / "all", seeds=10))
    again = list(bench.run(asked, results=tmp_path / "all", until="leaders"))
    assert decisions(again) == decisions(events)
    assert {event.job.key for event in again if event.kind == "stored"} == ran(events)
    assert len(ran(events)) < 40


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("stop", [1, 4, 9])
def test_closed_and_continued_it_decides_the_same(tmp_path, stop):
    asked = matrix(model_ensembles=[FUSED])
    whole = list(bench.run(asked, results=tmp_path / "whole", until="leaders"))
    first = bench.run(asked, results=tmp_path / "parts", until="leaders")
    ended = 0
    for event in first:
        ended += event.kind in ENDINGS
        if ended == stop:
            first.close()
            break
    rest = list(bench.run(asked, results=tmp_path / "parts", until="leaders"))
    assert decisions(rest) == decisions(whole)
    assert set(bench.load(tmp_path / "parts")["key"]) == ran(whole)


@pytest.mark.usefixtures("at_once")
def test_controls_are_chosen_in_the_end_for_the_seeds_that_ran(tmp_path):
    events = list(bench.run(matrix(model_ensembles=[FUSED], controls=True), results=tmp_path, until="leaders"))
    rows = bench.load(tmp_path)
    controls = rows[rows["kind"] == "control"]
    assert set(controls["seed"]) == set(rows.loc[rows["objective"] == "both", "seed"])
    assert set(controls["stopping"]) == {RULE}
    kinds = [event.kind for event in events]
    last_look = len(kinds) - 1 - kinds[::-1].index("decided")
    assert not any(event.job.control for event in events[:last_look])
    again = list(bench.run(matrix(model_ensembles=[FUSED], controls=True), results=tmp_path, until="leaders"))
    assert {event.kind for event in again} == {"stored", "decided"}


def test_a_failed_job_is_a_seed_without_a_score_and_runs_again_with_the_same_command(tmp_path, monkeypatch):
    def breaking(take, jobs, conditions):
        while (job := take()) is not None:
            yield Event("started", job)
            broken = (job.objective.label, job.seed) == ("triplet", 0)
            store.write(
                conditions.results,
                failure(job, "failed", "It broke.") if broken else finished(job, recall_at_1=recall(job)),
            )
            yield Event("failed" if broken else "done", job)

    monkeypatch.setitem(matrix_run.EXECUTORS, "local", breaking)
    events = list(bench.run(matrix(), results=tmp_path, until="leaders"))
    assert "triplet" in decisions(events)[0].running
    again = list(bench.run(matrix(), results=tmp_path, until="leaders"))
    assert [(event.job.objective.label, event.job.seed) for event in again if event.kind == "failed"] == [
        ("triplet", 0)
    ]
    assert decisions(again) == decisions(events)
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)
    mended = list(bench.run(matrix(), results=tmp_path, until="leaders"))
    whole = list(bench.run(matrix(), results=tmp_path / "whole", until="leaders"))
    assert decisions(mended) == decisions(whole)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"until": "leader"}, "there is no rule 'leader'; did you mean 'leaders'?"),
        ({"until": "leaders", "seeds": 3}, "--seeds and --until exclude each other"),
        ({"until": bench.Until("order", most=1)}, "--max-seeds 1"),
        ({"until": "leaders", "changes": ['losses=["triplet"]']}, "there is nothing to decide"),
    ],
)
def test_wrong_requests_store_nothing(tmp_path, options, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("?", r"\?")):
        next(bench.run(matrix(), results=tmp_path / "runs", **options))
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A matrix file, a folder with its real results, and the events of that run."""
    folder = tmp_path_factory.mktemp("trained")
    file = matrix_file(
        folder,
        losses='["triplet", "contrastive", "normalized_softmax"]',
        model_ensembles='[{ name = "concatenate", members = ["triplet", "contrastive"] }]',
        floors='["pixels"]',
        controls="false",
    )
    events = list(bench.run(file, results=folder / "runs", until=bench.Until("leaders", most=4), workers=2))
    return file, folder / "runs", events


def scores(results):
    return bench.load(results).set_index("key")[["recall_at_1", "map_at_r", "stopping"]].sort_index()


def test_after_a_sigkill_the_same_command_makes_the_same_decisions(tmp_path, trained):
    file, whole, events = trained
    command = [BENCH, "run", file, "--results", tmp_path, "--until", "leaders", "--max-seeds", "4", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        while len(list(tmp_path.glob("*/row.parquet"))) < 11 and first.poll() is None:
            time.sleep(0.01)
        os.kill(first.pid, signal.SIGKILL)
    stored = len(list(tmp_path.glob("*/row.parquet")))
    assert 11 <= stored < len(scores(whole))
    rest = subprocess.run(command, check=True, capture_output=True, text=True)
    assert scores(tmp_path).equals(scores(whole))
    said = [sentence for decision in decisions(events) for sentence in decision.sentences]
    assert [line.partition(": ")[2] for line in rest.stderr.splitlines() if "conv4(width=8): " in line] == said


def test_decisions_follow_from_the_stored_scores_by_the_rule_alone(trained):
    file, results, events = trained
    from bench.stats.sequential import leaders

    rows = bench.load(results).set_index("key")
    (board,) = by_look(load(file), bench.Until("leaders", most=4)).boards
    labels = list(dict.fromkeys(job.objective.label for job in board))
    table = np.full((len(labels), 4), math.nan)
    for job in board:
        table[labels.index(job.objective.label), job.seed] = rows["recall_at_1"].get(job.key, math.nan)
    fused, members = labels.index("concatenate[triplet, contrastive]"), [0, 1]
    shared = np.eye(4, dtype=bool)
    shared[fused, members] = shared[members, fused] = True
    looks = list(leaders(table, most=4, shared=shared))
    assert [decision.seeds for decision in decisions(events)] == [look.seeds for look in looks]
    for decision, look in zip(decisions(events), looks, strict=True):
        assert [label in decision.leading for label in labels] == look.leading.tolist()


def test_the_rules_can_be_replayed_on_any_results(trained):
    _, results, _ = trained
    command = [sys.executable, ROOT / "tests/perf/stopping.py", results]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "leaders: runs" in said
    assert "%" in said
