from pathlib import Path
from typing import Any

import pytest
from support.published_boards import ALIKE, RESNET, board, dataset, measured, published
from support.sample_rows import job, row, row_of, table, unfinished

from bench.analysis.boards import boards
from bench.analysis.leaderboard import frame
from bench.analysis.literature import FIELDS, Literature, literature
from bench.analysis.published import DATASETS, results
from bench.matrix.catalogue import entries
from bench.matrix.job import PLUGIN, Part

UNSTATED = ("crop", "pretraining", "epoch choice", "interval")


def beside(file: Path, *lines: dict[str, str], **others: Any) -> Literature:
    found = literature(board(**others), published(file, *lines))
    assert found
    return found


@pytest.mark.parametrize("name", sorted(DATASETS.values()))
def test_beside_a_board_stand_all_results_on_its_dataset(name: str) -> None:
    found = literature(board(dataset(name)))
    assert found
    assert sorted(map(str, (one.result for one in found.beside))) == sorted(
        str(result) for result in results() if result.dataset == name
    )
    assert [line.objective for line in found.measured] == ["proxy_anchor"]


@pytest.mark.parametrize("name", sorted(DATASETS.values()))
def test_no_published_result_is_comparable_and_nothing_is_subtracted(name: str) -> None:
    found = literature(board(dataset(name)))
    assert found
    assert set(UNSTATED) <= set(found.silent)
    assert not any(one.comparable for one in found.beside)
    assert {one.difference for one in found.beside} == {None}


def test_the_numbers_of_the_leaderboard_know_no_published_value() -> None:
    rows = measured(dataset("cub200"), dataset("cars196"))
    columns = set(frame(boards(rows)).columns)
    assert not [name for name in columns if "publish" in name or "differ" in name or "literature" in name]


@pytest.mark.parametrize(
    "changed",
    [
        dataset(size=128),
        dataset(classes=50),
        dataset(half=True),
        dataset("flowers102"),
        dataset("folder", path="cub200"),
        Part(name="glyphs", label="cub200"),
        dataset().model_copy(update={"contents": {PLUGIN: "a" * 64}}),
    ],
    ids=["size", "classes", "half", "other", "folder", "label", "plugin"],
)
def test_a_changed_dataset_is_not_the_published_one(changed: Part) -> None:
    assert literature(board(changed)) is None
    assert literature(board(dataset()))


def test_a_label_does_not_hide_a_dataset() -> None:
    found = literature(board(dataset().model_copy(update={"label": "birds"})))
    assert found
    assert found.dataset == "CUB-200-2011"


def test_the_size_that_counts_as_published_is_the_default() -> None:
    assert {entries("datasets")[name].parameters["size"].default for name in DATASETS.values()} == {256}


def test_data_with_something_left_out_or_in_two_versions_is_not_the_published_one() -> None:
    assert literature(board(left_out="pictures left out: 3 that cannot be read")) is None
    rows = measured()
    other = measured(dataset_sha="f" * 64)
    both = boards(table([*rows.to_dict("records"), *other.assign(key=other["key"] + "x").to_dict("records")]))
    assert len(both) == 2
    assert [literature(found) for found in both] == [None, None]


def test_rows_without_a_job_have_no_literature() -> None:
    older = measured().drop(columns=["job", "cell"])
    assert [literature(found) for found in boards(older.assign(job=None, cell=None))] == [None]


def test_a_board_without_scores_has_no_literature() -> None:
    rows = [unfinished("triplet", 0, "failed", "It broke.", dataset=dataset(), backbone=RESNET)]
    assert [literature(found) for found in boards(table(rows))] == [None]


def test_what_agrees_in_all_fields_is_comparable_and_is_subtracted(tmp_path: Path) -> None:
    (one,) = beside(tmp_path / "a.csv", ALIKE).beside
    assert one.comparable
    assert one.difference == pytest.approx(0.66137 + (0 + 1 + 2) / 777 / 3 - 0.615)


@pytest.mark.parametrize(
    ("field", "column", "other"),
    [
        ("trunk", "backbone", "BN-Inception"),
        ("width", "embedding_dim", "64"),
        ("kind", "kind", "model_ensemble"),
        ("crop", "crop", "224"),
        ("pretraining", "pretraining", "a1_in1k"),
        ("epoch choice", "epoch_choice", "best on test"),
        ("interval", "ci95", None),
    ],
)
def test_one_field_that_differs_or_is_blank_is_named_and_nothing_is_subtracted(
    field: str, column: str, other: str | None, tmp_path: Path
) -> None:
    if other is not None:
        (one,) = beside(tmp_path / "other.csv", ALIKE | {column: other}).beside
        assert (one.differ, one.unknown, one.difference) == ((field,), (), None)
    if column != "kind":
        found = beside(tmp_path / "blank.csv", ALIKE | {column: ""})
        assert (found.beside[0].differ, found.beside[0].unknown) == ((), (field,))
        assert found.beside[0].difference is None
        assert found.silent == (field,)


def test_all_fields_are_checked() -> None:
    assert {"trunk", "width", "kind", *UNSTATED} == set(FIELDS)


def _trunk(name: str = RESNET.name, **parameters: Any) -> Part:
    return RESNET.model_copy(update={"name": name, "parameters": RESNET.parameters | parameters})


@pytest.mark.parametrize(
    ("changes", "differ", "unknown"),
    [
        ({"embedding_dim": 256}, ("width",), ()),
        ({"embedding_dim": None}, (), ("width",)),
        ({"seeds": 1}, (), ("interval",)),
        ({"recipe": {"crop": None}}, ("crop",), ()),
        ({"recipe": {"select": "validation", "validation": {"share": 0.2}}}, ("epoch choice",), ()),
        ({"recipe": {"validation": {"share": 0.2}}}, ("epoch choice",), ()),
        ({"recipe": {"validation": {"folds": 4}}}, ("kind", "epoch choice"), ()),
        ({"backbone": _trunk("timm/resnet50d.tv_in1k")}, ("trunk",), ()),
        ({"backbone": _trunk("timm/resnet50.a1_in1k")}, ("pretraining",), ()),
        ({"backbone": _trunk("timm/resnet50")}, (), ("pretraining",)),
        ({"backbone": _trunk(pretrained=False)}, ("pretraining",), ()),
        ({"backbone": _trunk(weights="mine.safetensors")}, (), ("pretraining",)),
        ({"backbone": _trunk(frozen=True)}, ("trunk",), ()),
        ({"backbone": _trunk(levels=3)}, ("trunk",), ()),
        ({"backbone": _trunk(freeze_stages=0, views=0)}, (), ()),
    ],
)
def test_how_the_line_was_measured_is_known_from_its_job(
    changes: dict[str, Any], differ: tuple[str, ...], unknown: tuple[str, ...], tmp_path: Path
) -> None:
    (one,) = beside(tmp_path / "a.csv", ALIKE, **changes).beside
    assert (one.differ, one.unknown) == (differ, unknown)
    assert (one.difference is None) == bool(differ or unknown)


@pytest.mark.parametrize(("kind", "other"), [("ensemble", "loss_ensemble"), ("model_ensemble", "model_ensemble")])
def test_an_ensemble_is_held_against_ensembles(kind: str, other: str, tmp_path: Path) -> None:
    members = ["proxy_anchor", "triplet"]
    recipe = {"dim": 512, "crop": 224}
    place = {"dataset": dataset(), "backbone": RESNET, "recipe": recipe, "embedding_dim": 512}
    rows = [
        row_of(job("sum", seed, kind=kind, members=members, **_identity(place)), embedding_dim=512) for seed in (0, 1)
    ]
    (found,) = boards(table(rows))
    both = literature(found, published(tmp_path / "a.csv", ALIKE, ALIKE | {"kind": other, "method": "Another"}))
    assert both
    assert [(one.result.kind, one.differ) for one in both.beside] == [(other, ()), ("individual", ("kind",))]


def _identity(place: dict[str, Any]) -> dict[str, Any]:
    return {name: place[name] for name in ("dataset", "backbone", "recipe")}


def test_controls_and_floors_are_not_what_is_held_against_papers() -> None:
    place = {"dataset": dataset(), "backbone": RESNET, "recipe": {"dim": 512}}
    rows = [row("triplet", seed, **place, recall_at_1=0.5 + seed / 100) for seed in range(3)]
    rows += [row("pixels", 0, kind="floor", **place, recall_at_1=0.9)]
    rows += [row("softmax", seed, kind="control", **place, recall_at_1=0.8 + seed / 100) for seed in range(3)]
    (found,) = boards(table(rows))
    held = literature(found)
    assert held
    assert [line.objective for line in held.measured] == ["triplet"]


def test_the_nearest_protocol_comes_first_then_the_highest_recall(tmp_path: Path) -> None:
    lines = [
        {"method": "other trunk", "backbone": "GoogLeNet", "value": "99"},
        {"method": "low", "value": "50"},
        {"method": "high", "value": "70"},
        {"method": "blank", "embedding_dim": "", "value": "98"},
    ]
    found = beside(tmp_path / "a.csv", *lines)
    assert [one.result.method for one in found.beside] == ["high", "low", "blank", "other trunk"]
    assert found.silent == UNSTATED
