"""Plugins in real runs: every kind of part trains, is stored and reported; what cannot run is told before all that."""

import warnings
from contextlib import closing

import pytest
import torch
from support.jobs import go, matrix_file, tiny
from support.plugins import ALL_KINDS, LOSS, OF_VECTORS, plugin_file

import bench
from bench import report, store
from bench.analysis.boards import boards
from bench.execute import data_check
from bench.job.cannot_build import refusals
from bench.matrix.job import ConfigError
from bench.matrix.plugin_file import PluginError
from bench.matrix.plugins import use
from bench.scoring.evaluation import evaluate
from bench.store.columns import role
from bench.store.queries import read_queries
from bench.store.row import Result, Row

RETURNED = "return Loss(shape, _sigmoid_pairs, scale=scale)"


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    use([])


def test_a_matrix_of_plugin_parts_runs_and_is_reported_without_them(tmp_path):
    plugin = plugin_file(tmp_path, ALL_KINDS)
    matrix = matrix_file(
        tmp_path,
        datasets='["stripes"]',
        backbones='["tiny_trunk"]',
        losses='["triplet", { name = "sigmoid_pairs", scale = 5.0 }]',
        ensembles='[{ name = "halves", members = ["sigmoid_pairs", "triplet"] }]',
        model_ensembles='[{ name = "first_only", members = ["triplet"] }]',
        floors='["brightness"]',
        controls="false",
    )
    results = tmp_path / "runs"
    events = list(bench.run(matrix, results=results, workers=1, device="cpu", plugins=[plugin]))
    ended = {event.job.objective.label: event.kind for event in events if event.kind in ("done", "failed")}
    labels = ["triplet", "sigmoid_pairs(scale=5.0)", "halves[sigmoid_pairs, triplet]", "first_only[triplet]"]
    assert ended == dict.fromkeys([*labels, "brightness"], "done")
    rows = bench.load(results)
    assert (rows["half_recall"] * 2 - rows["recall_at_1"]).abs().max() < 1e-12
    assert (rows["half_recall_at_2"] * 2 - rows["recall_at_2"]).abs().max() < 1e-12
    assert rows["purity"].between(1 / 8, 1).sum() == len(rows)
    assert rows["dataset_sha"].str.fullmatch("[0-9a-f]{64}").all()
    stored = read_queries(results, rows["key"][0])
    assert stored.values["half_recall"].mean() == pytest.approx(rows["half_recall"][0])
    again = list(bench.run(matrix, results=results, workers=1, plugins=[plugin]))
    assert {event.kind for event in again} == {"stored"}

    def page(name):
        report.write(rows, store.history(results), tmp_path / name, members=store.members(results), title="t")
        return (tmp_path / name / "README.md").read_text()

    assert "| Half recall |" in page("with")
    use([])
    assert role("half_recall") is None
    (board,) = boards(rows, ())
    assert {line.label for line in board.lines} == set(ended)
    told = page("without")
    assert "sigmoid\\_pairs(scale=5.0)" in told
    assert "Half recall" not in told


@pytest.mark.usefixtures("one_thread")
def test_a_plugin_of_vectors_trains_and_its_floor_of_features_stands_beside_ours(tmp_path):
    use([plugin_file(tmp_path, OF_VECTORS)])
    jobs = tiny(datasets=["blobs"], backbones=["wider"], floors=["largest"])
    assert [job.objective.name for job in jobs] == ["triplet", "largest", "trunk", "trunk", "trunk"]
    assert data_check.check(jobs, None).keys() == {"blobs"}
    rows = [go(job, tmp_path / "runs").row for job in jobs]
    assert [row.status for row in rows] == ["done"] * 5
    assert rows[0].parameters == (6 * 12 + 12) + (12 * 16 + 16)  # its layer, and the head on 12 features
    assert bench.load(tmp_path / "runs")["weights_sha"].isna().all()


def test_a_floor_of_features_is_not_on_a_board_of_random_weights(tmp_path):
    use([plugin_file(tmp_path, OF_VECTORS)])
    torch.save({}, tmp_path / "weights.pt")
    kept = {"name": "conv4", "width": 8, "weights": str(tmp_path / "weights.pt"), "label": "kept"}
    jobs = tiny(backbones=[{"name": "conv4", "width": 8}, kept], floors=["largest"])
    assert [job.backbone.label for job in jobs if job.objective.name == "largest"] == ["kept"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"import no_such_thing\n{LOSS}", "cannot be imported (ModuleNotFoundError: No module named 'no_such_thing'"),
        (LOSS.replace(RETURNED, "return 3"), "returns int, not an nn.Module"),
        (
            LOSS.replace(RETURNED, "return Loss"),
            "returns the class Loss, not an nn.Module",
        ),
        (f"{LOSS}\n\ndef bad(ranking):\n    return 1 / 0\n", "bad of"),
        (f"{LOSS}\n\ndef bad(split): ...\n\n\nraise OSError('no model server')\n", "(OSError: no model server in line"),
    ],
)
def test_what_cannot_be_imported_or_built_is_refused_once(text, said, tmp_path):
    use([plugin_file(tmp_path, text)])
    ensemble = {"name": "sum", "members": ["triplet", "sigmoid_pairs"]}
    sentences = refusals(tiny(losses=["sigmoid_pairs", "triplet"], ensembles=[ensemble], seeds=3), None)
    assert said in sentences[0]
    assert len(sentences) == 1 or "member 'sigmoid_pairs'" in sentences[1]


def test_a_floor_and_a_fusion_that_cannot_be_imported_are_refused_before_others_train(tmp_path):
    both = "def dark(split): ...\n\n\ndef middle(members): ...\n\n\nimport no_such_thing\n"
    use([plugin_file(tmp_path, both)])
    jobs = tiny(floors=["dark"], model_ensembles=[{"name": "middle", "members": ["triplet"]}])
    for chosen in ([job for job in jobs if job.kind != "floor"], [job for job in jobs if job.kind != "model_ensemble"]):
        (said,) = refusals(chosen, None)
        assert "No module named 'no_such_thing' in line 7" in said


def test_nothing_is_stored_of_a_run_whose_plugin_cannot_be_imported(tmp_path):
    matrix, plugin = matrix_file(tmp_path, losses='["sigmoid_pairs"]'), plugin_file(tmp_path, f"1 / 0\n{LOSS}")
    with (
        closing(bench.run(matrix, results=tmp_path / "runs", workers=1, device="cpu", plugins=[plugin])) as events,
        pytest.raises(ConfigError, match=r"cannot be imported \(ZeroDivisionError: division by zero in line 1\)"),
    ):
        list(events)
    assert bench.load(tmp_path / "runs").empty


def test_a_plugin_that_changes_while_jobs_run_ends_the_run_and_stores_nothing_under_the_old_keys(tmp_path):
    """The second worker imports the file only when its first job comes."""
    plugin, losses = plugin_file(tmp_path), '["sigmoid_pairs", { name = "sigmoid_pairs", scale = 5.0 }]'
    options = {"results": tmp_path / "runs", "workers": 2, "device": "cpu", "plugins": [plugin]}
    with closing(bench.run(matrix_file(tmp_path, losses=losses), **options)) as events:
        next(event for event in events if event.kind == "started")
        plugin_file(tmp_path, LOSS.replace("10.0", "20.0"))
        with pytest.raises(ConfigError, match=r"my_losses\.py has changed since this run began: give the same command"):
            list(events)
    assert set(bench.load(tmp_path / "runs")["status"]) <= {"done"}


def test_rows_of_two_contents_of_a_plugin_are_two_lines(tmp_path):
    for number, text in enumerate((LOSS, LOSS.replace("similar, (", "similar + 1, ("))):
        use([plugin_file(tmp_path, text)])
        (job,) = tiny(losses=["sigmoid_pairs"])
        store.write(tmp_path / "runs", Result(Row.of(job, "done", scores={"recall_at_1": 0.5 + number / 10})))
    use([])
    (board,) = boards(bench.load(tmp_path / "runs"), ())
    assert sorted(line.label.partition("=")[0] for line in board.lines) == ["sigmoid_pairs (plugin file"] * 2


def test_a_matrix_alone_runs_no_code_and_a_plugin_that_is_not_used_is_told(tmp_path):
    matrix, plugin = matrix_file(tmp_path, losses='["triplet"]'), plugin_file(tmp_path, f"1 / 0\n{LOSS}")
    events = bench.run(matrix, results=tmp_path / "runs", workers=1, device="cpu", plugins=[plugin])
    with closing(events), pytest.warns(UserWarning, match="the matrix uses nothing of this plugin"):
        assert next(events).kind == "planned"
    with pytest.raises(ConfigError, match="plugins: unknown"):
        next(bench.run(matrix, results=tmp_path / "runs", changes=[f'plugins=["{plugin}"]']))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 1 / 0", "fails (ZeroDivisionError: division by zero in line 5): mend it"),
        ("return 3", "it returns int: return a Split of bench.datasets.split"),
    ],
)
def test_a_dataset_that_fails_is_one_sentence(body, said, tmp_path):
    plugin = plugin_file(tmp_path, f'\n\ndef mine(data):\n    """Mine."""\n    {body}\n')
    matrix = matrix_file(tmp_path, datasets='["mine"]')
    with pytest.raises(ConfigError) as error:
        next(bench.run(matrix, results=tmp_path / "runs", plugins=[plugin]))
    assert said in str(error.value)


def test_embeddings_are_scored_by_a_plugins_metrics(tmp_path):
    points, labels = [[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1]
    use([plugin_file(tmp_path, ALL_KINDS)])
    scores = evaluate(points, labels, ks=(1, 2))
    assert (scores["half_recall"], scores["half_recall_at_2"], scores["purity"]) == (0.5, 0.5, 1.0)
    use([plugin_file(tmp_path, "def bad(ranking):\n    return [[1.0]]\n")])
    with pytest.raises(PluginError, match=r"gives the shape \[1, 1\]: return one value per query, \[4\]"):
        evaluate(points, labels)
    use([])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "half_recall" not in evaluate(points, labels)
