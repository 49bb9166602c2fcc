"""`bench evaluate`: what it reads, what it prints, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.sample_files import WAYS, folder, lines, npy, sample, saved, spoilt, write_table
from typer.testing import CliRunner

from bench.cli.evaluate import evaluate
from bench.cli.exit_codes import guarded
from bench.scoring.conventions.rules import CONVENTIONS
from bench.scoring.diagnostics import diagnose
from bench.scoring.evaluation import evaluate as scores_of

app = typer.Typer(pretty_exceptions_enable=False)
guarded(app)(evaluate)
app.callback()(lambda: None)


def call(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=False)


def as_json(*arguments: Any) -> dict[str, Any]:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("write", WAYS, ids=lambda way: way.__name__)
def test_every_kind_of_file_gives_the_scores_of_the_harness(write: Callable[..., Any], tmp_path: Path) -> None:
    points, labels = sample()
    (found,) = as_json(*write(tmp_path, points, labels), "--k", "1,3", "--restarts", "2", "--seed", "7")["conventions"]
    stored = scores_of(points, labels, ks=(1, 3), restarts=2, seed=7)
    beside = ("_sd", "_best", "_chance", "_without_hit")
    assert found["scores"].keys() - {"queries_left_out"} == {name for name in stored if not name.endswith(beside)}
    for name in found["scores"].keys() - {"queries_left_out"}:
        assert found["scores"][name] == pytest.approx(stored[name], abs=1e-9)


def test_a_gallery_is_scored_as_the_harness_does(tmp_path: Path) -> None:
    queries, gallery = sample(20), sample(35, seed=1)
    x, y = npy(tmp_path, *queries)
    (tmp_path / "gallery").mkdir()
    others = lines(tmp_path / "gallery", *gallery)
    answer = as_json(x, y, "--gallery", others[0], "--gallery-labels", others[1], "--restarts", 0)
    assert (answer["queries"], answer["gallery"]) == (20, 35)
    stored = scores_of(*queries, gallery=gallery[0], gallery_labels=gallery[1], restarts=0)
    for name in ("recall_at_1", "recall_at_8", "map_at_r", "r_precision"):
        assert answer["conventions"][0]["scores"][name] == pytest.approx(stored[name], abs=1e-12)


def test_a_job_folder_holds_its_gallery_below_the_queries(tmp_path: Path) -> None:
    queries, gallery = sample(20), sample(35, seed=1)
    both = [np.concatenate(parts) for parts in zip(queries, gallery, strict=True)]
    where = folder(tmp_path, *both)
    write_table(tmp_path / "queries.parquet", first_hit=[1] * 20)
    stored = scores_of(*queries, gallery=gallery[0], gallery_labels=gallery[1])
    for place in (tmp_path, tmp_path / "embeddings.npy"):
        (found,) = as_json(place, where[1])["conventions"]
        assert found["scores"]["map_at_r"] == pytest.approx(stored["map_at_r"], abs=1e-12)
        assert found["scores"]["nmi"] == pytest.approx(stored["nmi"], abs=1e-12)


def test_all_conventions_stand_side_by_side_with_what_makes_them_differ(tmp_path: Path) -> None:
    points, labels = sample(41)
    points[5], labels[40] = points[0], "lone"
    x, y = npy(tmp_path, points, labels)
    answer = as_json(x, y, "--convention", "all", "--convention", "pml@2")
    names = [one["name"] for one in answer["conventions"]]
    assert names == [*CONVENTIONS, "pml@2"]
    scores = {one["name"]: one["scores"] for one in answer["conventions"]}
    for gap in answer["differences"]:
        ours, theirs = (scores[name][gap["metric"]] for name in ("lossbench", gap["name"]))
        assert gap["difference"] == pytest.approx(theirs - ours, abs=1e-12)
        assert gap["causes"]
    shown = {(gap["metric"], gap["name"]) for gap in answer["differences"]}
    for name in names:
        for metric, value in scores[name].items():
            apart = value is not None and abs(value - scores["lossbench"][metric]) >= 5e-5
            assert ((metric, name) in shown) == (apart and not metric.startswith("queries"))
    text = call(x, y, "--convention", "all").stdout
    head, rows = text.split("\n\n")[1].split("\n", 1)
    assert head.split() == list(CONVENTIONS)
    assert f"{100 * scores['song']['recall_at_1']:.2f}" in next(
        r for r in rows.splitlines() if r.startswith("Recall@1")
    )
    assert all(f"\n\n{name}: " in text for name in CONVENTIONS)
    reasons = " ".join(text.split("Why they differ from lossbench")[1].split())
    lost = 100 * (scores["song"]["recall_at_1"] - scores["lossbench"]["recall_at_1"])
    assert f"song −{-lost:.2f}: counts a query whose class has no other image" in reasons


def test_a_single_convention_needs_no_reasons(tmp_path: Path) -> None:
    text = call(*npy(tmp_path, *sample()), "--convention", "proxy-anchor").stdout
    assert "Why they differ" not in text
    assert ["MAP@R", "–"] in [line.split() for line in text.splitlines()]
    assert "cosine similarity" in text


def test_the_distance_is_named_and_holds_for_every_convention(tmp_path: Path) -> None:
    files = npy(tmp_path, *sample())
    own = as_json(*files, "--convention", "lossbench", "--convention", "musgrave")
    assert [one["distance"] for one in own["conventions"]] == ["euclidean", "cosine"]
    same = as_json(*files, "--convention", "lossbench", "--convention", "musgrave", "--distance", "cosine")
    assert [one["distance"] for one in same["conventions"]] == ["cosine", "cosine"]
    ours, theirs = (one["scores"]["map_at_r"] for one in same["conventions"])
    assert ours == pytest.approx(theirs, abs=1e-9)
    unit = sample()[0] / np.linalg.norm(sample()[0], axis=1, keepdims=True)
    assert ours == pytest.approx(scores_of(unit, sample()[1])["map_at_r"], abs=1e-9)
    assert "L2-normalises, so compares by cosine similarity" in call(*files, "--distance", "cosine").stdout
    assert "Euclidean distance of the vectors as they are" in " ".join(call(*files).stdout.split())


def test_conventions_that_know_no_gallery_are_left_out_of_all(tmp_path: Path) -> None:
    x, y = npy(tmp_path, *sample())
    result = call(x, y, "--gallery", x, "--gallery-labels", y, "--convention", "all", "--json")
    assert [one["name"] for one in json.loads(result.stdout)["conventions"]] == [
        name for name, one in CONVENTIONS.items() if one.gallery
    ]
    assert "revisiting and song have no rules for a gallery" in result.stderr


def refused(sentence: str, *arguments: Any) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("bench: ")
    assert result.stderr.count("\n") == 1
    assert sentence in result.stderr


def test_requests_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    x, y = npy(tmp_path, *sample())
    narrow = saved(tmp_path / "narrow.npy", sample()[0][:, :2])
    refused("x.npy has no labels: add LABELS", x)
    refused("40 rows, but", x, saved(tmp_path / "few.npy", sample(39)[1]))
    refused("every label is a", x, saved(tmp_path / "one.npy", np.array(["a"] * 40)))
    refused("NaN", saved(tmp_path / "nan.npy", spoilt(sample()[0], np.nan)), y)
    refused("add --gallery-labels", x, y, "--gallery", x)
    refused("add --gallery.", x, y, "--gallery-labels", y)
    refused("have 4 dimensions, the gallery 2", x, y, "--gallery", narrow, "--gallery-labels", y)
    refused("revisiting has no rules", x, y, "--gallery", x, "--gallery-labels", y, "--convention", "revisiting")
    refused("did you mean 'revisiting'", x, y, "--convention", "revisting")
    refused("--k 1,x", x, y, "--k", "1,x")
    refused("--k 0", x, y, "--k", "0")
    refused(
        "row 4 is all zeros",
        saved(tmp_path / "z.npy", spoilt(sample()[0] * 0 + 1, 1) * (np.arange(40) != 3)[:, None]),
        y,
        "--distance",
        "cosine",
    )


def test_a_job_folder_refuses_another_gallery(tmp_path: Path) -> None:
    where = folder(tmp_path, *sample())
    write_table(tmp_path / "queries.parquet", first_hit=[1] * 20)
    refused("already", *where, "--gallery", tmp_path / "embeddings.npy", "--gallery-labels", where[1])
    write_table(tmp_path / "queries.parquet", first_hit=[1] * 41)
    refused("41 queries", *where)


def test_labels_that_never_meet_are_shown_side_by_side(tmp_path: Path) -> None:
    x, _ = npy(tmp_path, *sample(4))
    ours, theirs = (
        saved(tmp_path / "a.npy", np.array(["007"] * 2 + ["008"] * 2)),
        saved(tmp_path / "b.npy", np.array([7, 7, 8, 8])),
    )
    result = call(x, ours, "--gallery", x, "--gallery-labels", theirs)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert "the queries have '007', the gallery '7'" in result.stderr


def test_queries_that_are_in_their_gallery_are_counted(tmp_path: Path) -> None:
    x, y = npy(tmp_path, *sample())
    others, names = sample(30, seed=3)
    others[4] = sample()[0][7]
    gallery, gallery_names = saved(tmp_path / "g.npy", others), saved(tmp_path / "n.npy", names)
    assert "40 of 40 queries are in the gallery" in call(x, y, "--gallery", x, "--gallery-labels", y).stderr
    assert "1 of 40 queries" in call(x, y, "--gallery", gallery, "--gallery-labels", gallery_names).stderr
    others[4] += 1
    saved(gallery, others)
    assert call(x, y, "--gallery", gallery, "--gallery-labels", gallery_names).stderr == ""


def test_the_columns_of_a_wide_table_are_named(tmp_path: Path) -> None:
    points, labels = sample()
    numbers = {f"e{i}": column for i, column in enumerate(points.T)}
    file = write_table(tmp_path / "x.parquet", target=range(40), **numbers, label=labels.tolist())
    result = call(file)
    assert result.exit_code == 0
    assert "the 4 float columns e0 to e3; left out: target" in result.stderr
    without = write_table(tmp_path / "y.parquet", target=range(40), **numbers)
    assert "name the column that holds them 'label'; it has target" in call(without).stderr


@pytest.mark.parametrize(
    ("heading", "hint"), [("animal\n", ", or name it 'label' if 'animal' is a heading."), ("", ".")]
)
def test_a_heading_that_was_taken_for_a_label_is_named(tmp_path: Path, heading: str, hint: str) -> None:
    points, labels = sample()
    rows = labels if heading else [*labels, *labels[:2]]
    (tmp_path / "y.csv").write_text(heading + "".join(f"{label}\n" for label in rows))
    result = call(saved(tmp_path / "x.npy", points), tmp_path / "y.csv")
    assert (result.exit_code, result.stderr.endswith(f"labels: give one label per row{hint}\n")) == (2, True)


@pytest.mark.parametrize("labels", [["/\x04a"] * 40, ["/\x04a"] * 20 + ["b"] * 20], ids=["one class", "two sides"])
def test_control_characters_of_labels_do_not_reach_the_terminal(tmp_path: Path, labels: list[str]) -> None:
    stored, y = saved(tmp_path / "x.npy", sample()[0]), saved(tmp_path / "y.npy", np.array(labels))
    others = ("--gallery", stored, "--gallery-labels", saved(tmp_path / "z.npy", np.array(["c\x1b", "d"] * 20)))
    result = call(stored, y, *(others if "b" in labels else ()))
    assert result.exit_code in (2, 3)
    assert r"/\x04a" in result.stderr
    assert all(line.isprintable() for line in result.stderr.splitlines())


@pytest.mark.parametrize(("scale", "kind"), [(1e-30, "f4"), (1e-30, "f8"), (1e-100, "f8"), (1e10, "f4")])
def test_the_size_of_the_values_changes_no_score(tmp_path: Path, scale: float, kind: str) -> None:
    """k-means in single precision takes tiny values for one point, beside a right Recall."""
    points, labels = sample()[0].astype(np.float64), sample()[1]
    y = saved(tmp_path / "y.npy", labels)
    plain = as_json(saved(tmp_path / "plain.npy", points), y, "--convention", "all")
    scaled = as_json(saved(tmp_path / "x.npy", (points * scale).astype(kind)), y, "--convention", "all")
    for one, other in zip(plain["conventions"], scaled["conventions"], strict=True):
        assert other["scores"] == pytest.approx(one["scores"], abs=1e-3, nan_ok=True), one["name"]


def test_diagnostics_are_said_when_asked_for(tmp_path: Path) -> None:
    points, labels = sample()
    files = npy(tmp_path, points, labels)
    assert "diagnostics" not in as_json(*files, "--restarts", 0)
    assert "Diagnostics" not in call(*files, "--restarts", 0).stdout
    expected = diagnose(points, labels)
    assert as_json(*files, "--restarts", 0, "--diagnostics")["diagnostics"] == pytest.approx(expected, rel=1e-6)
    lines = call(*files, "--restarts", 0, "--diagnostics").stdout.split("Diagnostics of the queries")[1].splitlines()
    assert lines[2].split() == ["Uniformity", f"−{-expected['uniformity']:.4f}"]


def test_a_diagnostic_that_is_no_number_is_null(tmp_path: Path) -> None:
    points, labels = sample()
    points[:, 0] = 0
    files = npy(tmp_path, points, labels)
    assert as_json(*files, "--restarts", 0, "--diagnostics")["diagnostics"]["rho_spectrum"] is None
    assert "inf" in call(*files, "--restarts", 0, "--diagnostics").stdout
