from pathlib import Path

import pytest
from support.jobs import matrix_file
from typer.testing import CliRunner

from bench import store
from bench.cli.app import app
from bench.execute import matrix_run
from bench.execute.event import Event
from bench.matrix.file import load
from bench.store.row import Result, Row

WORDS = ("search", "tiny.toml", "--trials", "2", "--workers", "1", "--write", "found.toml")
NOTE = "Each objective called tuned had 2 trials on held-out training classes to find its settings."
AS_TRIED = ("seeds=[1000]", "recipe.validation.share=0.2", "recipe.validate_every=2")


def quick(*words):
    """In this process."""
    return CliRunner().invoke(app, list(words))


@pytest.mark.usefixtures("no_workers")
def test_what_is_found_is_written_and_is_what_was_tried_and_the_report_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matrix_file(tmp_path, losses='["proxy_anchor", { name = "triplet", label = "raw", recipe = { epochs = 0 } }]')
    told = quick(*WORDS)
    assert told.exit_code == 0, told.stderr
    assert "nothing to search" in told.stdout
    assert "[2/2]" in told.stderr
    assert "wrote found.toml; run it with: bench run found.toml" in told.stderr
    rows = store.load(Path("results/search"))
    assert set(rows["seed"]) == {1000}
    assert f"{100 * rows['validation_map_at_r'].max():.1f}" in told.stdout
    assert load("found.toml").searched.command == "bench search tiny.toml --trials 2"

    refused = quick(*WORDS)
    assert refused.exit_code == 2
    assert refused.stderr == (
        "bench: found.toml: is there already; add --force to replace it, or name another file with --write\n"
    )
    text = Path("found.toml").read_text()
    Path("found.toml").write_text("")
    forced = quick(*WORDS, "--force")
    assert forced.exit_code == 0, forced.stderr
    assert "2 cells, 2 done before" in forced.stderr
    assert Path("found.toml").read_text() == text

    changes = [word for change in AS_TRIED for word in ("--set", change)]
    report = quick("report", "--results", "results/search", "--matrix", "found.toml", "--output", "out", *changes)
    assert report.exit_code == 0, report.stderr
    assert "tuned proxy_anchor" in report.stdout
    assert NOTE in " ".join(report.stdout.split())
    assert NOTE in Path("out/README.md").read_text()
    assert NOTE in Path("out/index.html").read_text()


def test_several_boards_have_a_file_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets = '[{ name = "glyphs", classes = 12, label = "letters" }]'
    matrix_file(tmp_path, datasets=datasets, backbones='["conv4", { name = "conv4", width = 8, label = "a/b c" }]')
    Path("found-2-letters-a_b_c.toml").touch()
    refused = quick(*WORDS)
    assert refused.exit_code == 2
    assert "bench: found-2-letters-a_b_c.toml: is there already" in refused.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--write", "nowhere/found.toml"), "there is no such folder"),
        (("--write", "."), "is a folder"),
        (("--force",), "--force belongs to --write"),
        (("--trials", "0"), "--trials"),
        (("--set", "recipe.epochs=0"), "there is nothing to search"),
        (("--set", "losses=[]"), "losses and ensembles are both empty"),
    ],
)
def test_a_wrong_request_is_one_sentence(tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    matrix_file(tmp_path)
    told = quick("search", "tiny.toml", *words)
    assert told.exit_code == 2
    assert sentence in told.stderr
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("endings", "code"), [({"triplet": "failed"}, 1), ({"triplet": "failed", "contrastive": "diverged"}, 3)]
)
def test_without_a_score_nothing_is_written_and_the_exit_code_says_so(tmp_path, monkeypatch, endings, code):
    def ending(take, jobs, conditions):
        while (job := take()) is not None:
            status = endings.get(job.objective.name, "done")
            scores, reason = ({"validation_map_at_r": 0.5}, None) if status == "done" else ({}, "it broke.")
            store.write(conditions.results, Result(Row.of(job, status, reason=reason, scores=scores)))
            yield Event("started", job)
            yield Event(status, job, reason=reason)

    monkeypatch.setitem(matrix_run.EXECUTORS, "local", ending)
    monkeypatch.chdir(tmp_path)
    matrix_file(tmp_path)
    told = quick(*WORDS)
    assert told.exit_code == code
    assert "no trial of triplet has a score (it broke)" in told.stderr
    assert "2 (2 without a score)" in " ".join(told.stdout.split())
    assert "found.toml is not written; remove what has no score" in told.stderr
    assert not Path("found.toml").exists()
