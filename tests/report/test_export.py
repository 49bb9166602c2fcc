import csv
import io
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from support.sample_rows import row, table
from typer.testing import CliRunner

import bench
from bench import store
from bench.analysis.boards import boards
from bench.cli.app import app
from bench.matrix.job import ConfigError
from bench.report.export import FORMATS, export

SMALL = Path(__file__).parents[2] / "results" / "small.parquet"
SHOWN = {"asciitilde": "~", "asciicircum": "^", "less": "<", "greater": ">", "backslash": "\\"}
NASTY = r"50 % & more: {x}_$y^z#~ \ <b> ±"


@pytest.fixture(scope="module")
def rows():
    return bench.load(SMALL)


def called(*arguments):
    return CliRunner().invoke(app, ["export", *map(str, arguments)], catch_exceptions=False)


def test_the_frame_has_the_means_of_the_rows_and_the_ranks_of_the_report(rows):
    found = bench.leaderboard(rows)
    done = rows[rows["status"] == "done"]
    for (dataset, objective), part in done[done["kind"] == "loss"].groupby(["dataset", "objective"]):
        (line,) = found[(found["dataset"] == dataset) & found["objective"].str.startswith(objective)].to_dict("records")
        assert line["recall_at_1"] == pytest.approx(part["recall_at_1"].mean(), abs=1e-12)
        assert line["map_at_r"] == pytest.approx(part["map_at_r"].mean(), abs=1e-12)
        assert line["seeds"] == part["seed"].nunique()
    ranked = found[found["best_rank"].notna()]
    assert set(ranked["kind"]) >= {"loss", "ensemble", "floor"}
    assert "control" not in set(ranked["kind"])
    assert (ranked["best_rank"] <= ranked["worst_rank"]).all()
    assert ranked.groupby("dataset")["leads"].sum().min() >= 1
    assert (ranked.loc[ranked["leads"], "best_rank"] == 1).all()


def test_without_rows_the_frame_is_empty_and_has_its_columns():
    found = bench.leaderboard(store.empty())
    assert found.empty
    assert found.columns[:4].tolist() == ["dataset", "backbone", "objective", "kind"]


def test_csv_and_json_hold_every_number_of_the_frame(rows):
    found = bench.leaderboard(rows)
    read = pd.read_csv(io.StringIO(export(boards(rows), "csv")), keep_default_na=True)
    told = json.loads(export(boards(rows), "json"))
    assert list(read.columns) == list(told[0]) == list(found.columns)
    for name in ("recall_at_1", "recall_at_1_half_width", "nmi", "seconds", "dim", "worst_rank"):
        expected = found[name].astype(float).tolist()
        assert read[name].tolist() == pytest.approx(expected, nan_ok=True)
        values = [float("nan") if line[name] is None else line[name] for line in told]
        assert values == pytest.approx(expected, nan_ok=True)
    assert [line["objective"] for line in told] == read["objective"].tolist() == found["objective"].tolist()


def test_latex_has_a_table_for_each_board_and_a_line_for_each_method_but_controls(rows):
    found = boards(rows)
    text = export(found, "latex", metrics=["recall_at_1"])
    tables = text.split("\\begin{table}")[1:]
    assert len(tables) == len(found)
    for board, written in zip(found, tables, strict=True):
        body = (
            written[written.index("\\midrule") + len("\\midrule") : written.index("\\bottomrule")].strip().splitlines()
        )
        lines = [line for line in board.lines if line.kind != "control"]
        assert len(body) == len(lines)
        for line, cells in zip(lines, body, strict=True):
            score = line.scores["recall_at_1"]
            said = f"{100 * score.mean:.1f}"
            mean = f"\\textbf{{{said}}}" if line.cell in board.leading["recall_at_1"] else said
            last = cells.removesuffix(" \\\\").split(" & ")[-1]
            assert last == f"{mean} $\\pm$ {100 * score.half_width:.1f}"


def test_labels_are_escaped_in_latex_and_whole_in_csv():
    rows = table([row(NASTY, seed) for seed in (0, 1)] + [row("b", seed) for seed in (0, 1)])
    text = export(boards(rows), "latex")
    shown = next(line for line in text.splitlines() if line.startswith("50"))
    label = shown.split(" & loss")[0]
    for name, mark in SHOWN.items():
        label = label.replace(f"\\text{name}{{}}", mark)
    assert re.sub(r"\\([&%$#_{}])", r"\1", label) == NASTY
    read = csv.DictReader(io.StringIO(export(boards(rows), "csv")))
    assert {line["objective"] for line in read} == {NASTY, "b"}


@pytest.mark.parametrize(
    ("kind", "metrics", "sentence"),
    [("latx", [], "there is no format 'latx'; did you mean 'latex'"), ("csv", ["nmy"], "no line has a metric 'nmy'")],
)
def test_what_there_is_not_is_a_sentence(rows, kind, metrics, sentence):
    with pytest.raises(ConfigError, match=sentence):
        export(boards(rows), kind, metrics=metrics)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_prints_or_writes_and_replaces_nothing_unasked(rows, tmp_path, kind):
    file = tmp_path / "new" / "table"
    expected = export(boards(rows), kind)
    assert called(kind, "--results", SMALL).stdout == expected
    written = called(kind, "--results", SMALL, "--output", file)
    assert (written.exit_code, file.read_text(encoding="utf-8")) == (0, expected)
    file.write_text("mine", encoding="utf-8")
    refused = called(kind, "--results", SMALL, "--output", file)
    assert (refused.exit_code, file.read_text(encoding="utf-8")) == (2, "mine")
    assert "is there already" in refused.stderr
    assert called(kind, "--results", SMALL, "--output", file, "--force").exit_code == 0
    assert [path.name for path in file.parent.iterdir()] == ["table"]


def test_without_results_nothing_is_written(tmp_path):
    (tmp_path / "runs").mkdir()
    done = called("csv", "--results", tmp_path / "runs", "--output", tmp_path / "a.csv")
    assert (done.exit_code, (tmp_path / "a.csv").exists()) == (3, False)
