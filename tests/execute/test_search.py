from collections import Counter
from contextlib import suppress

import pytest
import torch
from support.jobs import DATASET, RECIPE
from support.plugins import LOSS, plugin_file

import bench
from bench import store
from bench.execute import matrix_run
from bench.execute.event import Event
from bench.execute.search import SEED
from bench.job.backbones import conv4
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError
from bench.matrix.plugins import use
from bench.store.row import Provenance, Result, Row

MATRIX = {
    "datasets": [DATASET],
    "backbones": [{"name": "conv4", "width": 8}],
    "losses": ["triplet", {"name": "proxy_anchor", "alpha": 16, "label": "anchor"}],
    "ensembles": [{"name": "sum", "members": ["triplet", "anchor"], "recipe": {"weight_decay": 0.0}}],
    "model_ensembles": [{"name": "concatenate", "members": ["triplet", "anchor"]}],
    "floors": ["pixels"],
    "seeds": [0, 1],
    "recipe": RECIPE,
}


def asked(**changes):
    return Matrix.model_validate(MATRIX | changes)


def score(job):
    """A trial is the better the nearer its trunk's rate is to 4e-4."""
    return 1 / (1 + abs(job.recipe.trunk_rate - 4e-4))


def instant(take, jobs, conditions):
    """Another executor: it trains nothing and stores a row for each job, whose test scores say the opposite."""
    while (job := take()) is not None:
        yield Event("started", job)
        scores = {"recall_at_1": 1 - score(job), "map_at_r": 1 - score(job), "validation_map_at_r": score(job)}
        store.write(conditions.results, Result(Row.of(job, "done", scores=scores, embedding_dim=16)))
        yield Event("done", job)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setitem(matrix_run.EXECUTORS, "local", instant)


def searched(tmp_path, matrix, trials, **options):
    events = []
    boards = bench.search(matrix, trials=trials, results=tmp_path / "runs", tell=events.append, workers=1, **options)
    return boards, [event for event in events if event.kind == "started"]


@pytest.mark.usefixtures("at_once")
def test_every_objective_has_the_same_number_of_trials_with_one_seed_apart(tmp_path):
    (board,), started = searched(tmp_path, asked(), 5)
    assert len(started) == 15
    assert {event.job.seed for event in started} == {SEED}
    assert {event.job.recipe.validation.share for event in started} == {0.2}
    assert {event.job.recipe.validate_every for event in started} == {RECIPE["epochs"]}
    names = Counter(event.job.objective.name for event in started)
    assert names == {"triplet": 5, "proxy_anchor": 5, "sum": 5}
    assert [choice.label for choice in board.choices] == ["triplet", "anchor", "sum[triplet, anchor]"]
    for choice in board.choices:
        assert choice.trials[0].recipe == choice.job.recipe
        assert choice.scores == tuple(map(score, choice.trials))
        assert choice.best == max(range(5), key=choice.scores.__getitem__)


@pytest.mark.usefixtures("at_once")
def test_more_trials_begin_with_those_that_there_are(tmp_path):
    (few,), first = searched(tmp_path, asked(), 3)
    (same,), again = searched(tmp_path, asked(), 3)
    (many,), more = searched(tmp_path, asked(), 8)
    assert (len(first), len(again), len(more)) == (9, 0, 15)
    assert same.choices == few.choices
    for one, other in zip(few.choices, many.choices, strict=True):
        assert one.trials == other.trials[:3]


def test_what_is_run_is_what_was_tried(tmp_path, at_once):
    (board,), _ = searched(tmp_path, asked(), 8)
    assert all(choice.best for choice in board.choices)
    jobs = {job.objective.label: job for job in expand(board.matrix) if job.seed == 1}
    assert set(jobs) == {
        *("tuned triplet", "tuned anchor", "tuned sum[triplet, anchor]", "pixels"),
        "concatenate[tuned triplet, tuned anchor]",
    }
    for choice in board.choices:
        job, tried = jobs[f"tuned {choice.label}"], choice.trials[choice.best]
        assert job.digests == tried.digests
        changed = {"validation": tried.recipe.validation, "validate_every": tried.recipe.validate_every}
        assert job.recipe.model_copy(update=changed) == tried.recipe
    assert board.matrix.seeds == (0, 1)
    assert board.matrix.searched.trials == 8


@pytest.mark.usefixtures("at_once")
def test_a_search_of_what_was_found_keeps_its_names(tmp_path):
    (board,), _ = searched(tmp_path, asked(), 3)
    (again,), _ = searched(tmp_path, board.matrix, 3)
    names = [[part.label for part in (*one.matrix.losses, *one.matrix.ensembles)] for one in (board, again)]
    assert names[0] == names[1]


@pytest.mark.usefixtures("at_once")
def test_every_dataset_and_backbone_is_searched_apart_from_its_own_rates(tmp_path):
    datasets = [DATASET, {**DATASET, "classes": 16, "recipe": {"trunk_rate": 4e-2}}]
    matrix = asked(datasets=datasets, backbones=[{"name": "conv4", "width": 8}, {"name": "conv4", "width": 12}])
    boards, started = searched(tmp_path, matrix, 3)
    assert len(started) == 3 * 3 * 4
    assert [board.matrix.datasets + board.matrix.backbones for board in boards] == [
        (dataset, backbone) for dataset in matrix.datasets for backbone in matrix.backbones
    ]
    first, last = boards[0].choices[0].trials[1], boards[-1].choices[0].trials[1]
    assert last.recipe.trunk_rate == pytest.approx(40 * first.recipe.trunk_rate, rel=0.01)
    assert last.recipe.head_rate == first.recipe.head_rate


@pytest.mark.usefixtures("at_once")
def test_a_loss_of_a_plugin_is_searched_within_its_bounds_and_named_in_the_command(tmp_path):
    bounded = LOSS.replace("scale: float", "scale: Annotated[float, Gt(0), Tuned(5, 20, log=True)]")
    imports = "from typing import Annotated\nfrom annotated_types import Gt\nfrom losses.tuned import Tuned\n"
    plugin = plugin_file(tmp_path, imports + bounded)
    asked_for = {"losses": ["sigmoid_pairs"], "ensembles": [], "model_ensembles": [], "floors": []}
    (board,), _ = searched(tmp_path, asked(**asked_for), 4, plugins=[plugin])
    use([])
    scales = [trial.objective.parameters["scale"] for trial in board.choices[0].trials]
    assert scales[0] == 10
    assert len(set(scales)) == 4
    assert all(5 <= scale <= 20 for scale in scales)
    assert board.matrix.searched.command == f"bench search MATRIX --trials 4 --plugin={plugin}"


def test_an_epoch_that_held_out_classes_select_is_looked_for(tmp_path, at_once):
    recipe = {**RECIPE, "validation": {"folds": 2}, "select": "validation", "classes_per_batch": 4}
    (board,), started = searched(tmp_path, asked(recipe=recipe), 2)
    assert {event.job.recipe.validate_every for event in started} == {1}
    assert {event.job.recipe.validation.folds for event in started} == {2}
    assert board.matrix.searched.validation.folds == 2


@pytest.mark.parametrize(
    ("changes", "trials", "sentence"),
    [
        ({}, 0, "one trial or more"),
        ({"recipe": {**RECIPE, "epochs": 0}}, 3, "nothing to search"),
        ({"seeds": [0, SEED]}, 3, "seed 1000 is that of a search"),
        ({"losses": [{"name": "triplet", "margn": 1}], "ensembles": [], "model_ensembles": []}, 3, "did you mean"),
        ({"datasets": [{**DATASET, "classes": 3}], "recipe": {**RECIPE, "classes_per_batch": 2}}, 3, "four classes"),
    ],
)
def test_a_request_that_is_wrong_is_refused_before_anything_trains(tmp_path, changes, trials, sentence):
    with pytest.raises(ConfigError, match=sentence):
        bench.search(asked(**changes), trials=trials, results=tmp_path / "runs", workers=1)
    assert not list((tmp_path / "runs").glob("*"))


def test_an_objective_without_any_score_leaves_no_matrix_to_run(tmp_path, monkeypatch):
    def failing(take, jobs, conditions):
        while (job := take()) is not None:
            ended = "failed" if job.objective.name == "triplet" else "done"
            scores = {"validation_map_at_r": score(job)} if ended == "done" else None
            reason = None if scores else "it broke."
            store.write(conditions.results, Result(Row.of(job, ended, reason=reason, scores=scores or {})))
            yield Event(ended, job, reason=reason)

    monkeypatch.setitem(matrix_run.EXECUTORS, "local", failing)
    (board,), _ = searched(tmp_path, asked(), 2)
    assert board.matrix is None
    assert [(choice.best is None, choice.reason) for choice in board.choices[:2]] == [(True, "it broke"), (False, "")]


def test_what_cannot_run_here_stays_as_it_is(tmp_path, monkeypatch):
    def skipping(take, jobs, conditions):
        while (job := take()) is not None:
            ended = "skipped" if job.objective.name == "triplet" else "done"
            scores = {"validation_map_at_r": score(job)} if ended == "done" else {}
            store.write(
                conditions.results, Result(Row.of(job, ended, reason=None if scores else "no text.", scores=scores))
            )
            yield Event(ended, job)

    monkeypatch.setitem(matrix_run.EXECUTORS, "local", skipping)
    (board,), _ = searched(tmp_path, asked(), 2)
    assert [part.label for part in board.matrix.losses] == ["", "tuned anchor"]
    assert board.matrix.model_ensembles[0].members[0].name == "triplet"


class Enough(Exception):
    pass


def test_a_search_goes_on_where_it_was_stopped(tmp_path, at_once):
    def stop(event):
        if event.kind == "done":
            raise Enough

    with suppress(Enough):
        bench.search(asked(), trials=2, results=tmp_path / "runs", tell=stop, workers=1)
    assert len(bench.load(tmp_path / "runs")) == 1
    (board,), started = searched(tmp_path, asked(), 2)
    assert len(started) == 5
    assert all(choice.best is not None for choice in board.choices)


def test_trials_of_other_data_are_refused(tmp_path, at_once):
    (board,), _ = searched(tmp_path, asked(), 1)
    (job,) = board.choices[0].trials
    provenance = Provenance(dataset_sha="of other pictures")
    other = tmp_path / "other"
    store.write(other, Result(Row.of(job, "done", scores={}, provenance=provenance)))
    with pytest.raises(ConfigError, match="1 stored rows are of other data; name another folder with --results"):
        bench.search(asked(), trials=1, results=other)


@pytest.mark.usefixtures("at_once")
def test_the_trunk_alone_stands_on_a_pretrained_board_and_is_not_searched(tmp_path):
    torch.manual_seed(0)
    torch.save(conv4(1, width=8).state_dict(), tmp_path / "weights.pt")
    pretrained = {"name": "conv4", "width": 8, "weights": str(tmp_path / "weights.pt")}
    still = {"rotation": 0, "zoom": 0, "shift": 0}
    boards, started = searched(
        tmp_path,
        asked(backbones=[{**pretrained, "frozen": True}, {**pretrained, "freeze_stages": 1}], recipe=RECIPE | still),
        2,
    )
    assert {event.job.kind for event in started} == {"loss", "ensemble"}
    names = ["triplet", "proxy_anchor", "sum"]
    assert [[choice.job.objective.name for choice in board.choices] for board in boards] == [names, names]
    assert [board.choices[0].job.backbone.parameters["frozen"] for board in boards] == [True, False]
    spaces = [[space.name for space, _ in board.choices[0].values] for board in boards]
    assert ["trunk_rate" in found for found in spaces] == [False, True]
