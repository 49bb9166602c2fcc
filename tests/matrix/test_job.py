"""Identity: what makes two jobs one, one cell, or strangers."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

import bench
from bench.analysis.older_jobs import older_jobs
from bench.matrix import job as job_module
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import ConfigError, Job

ROOT = Path(__file__).parents[2]
FUSED = {"name": "concatenate", "members": ["triplet"], "seeds": 2}
BASE: dict[str, Any] = {"datasets": ["glyphs"], "backbones": ["conv4"], "losses": ["triplet"]}


def jobs(**changes: Any) -> tuple[Job, ...]:
    return expand(Matrix.model_validate(BASE | changes))


def only(**changes: Any) -> Job:
    (job,) = jobs(**changes)
    return job


def weighed(file: Path) -> Job:
    """The first job of a trunk with weights; floors of the trunk alone come after it."""
    return jobs(backbones=[{"name": "conv4", "weights": str(file)}])[0]


@pytest.mark.parametrize("file", ["reference", "small"])
def test_the_keys_of_stored_rows_are_those_of_their_jobs(file: str) -> None:
    rows = bench.load(ROOT / "results" / f"{file}.parquet").assign(job=None)
    found = older_jobs(rows)
    assert [key for key in rows["key"] if key not in found or found[key].key != key] == []


def test_seeds_share_a_cell_and_nothing_else_does() -> None:
    changes: list[dict[str, Any]] = [
        {"losses": ["contrastive"]},
        {"losses": [{"name": "triplet", "margin": 0.9}]},
        {"datasets": [{"name": "glyphs", "classes": 20}]},
        {"backbones": [{"name": "conv4", "width": 8}]},
        {"recipe": {"epochs": 3}},
    ]
    three, others = jobs(seeds=3), [only(**change) for change in changes]
    assert len({job.key for job in three}) == 3
    assert len({job.cell for job in three}) == 1
    assert len({job.cell for job in (three[0], *others)}) == 1 + len(others)


def test_a_label_and_being_a_control_change_neither_key_nor_cell() -> None:
    plain, named = only(), only(losses=[{"name": "triplet", "label": "ours"}])
    control = plain.changed(control=True)
    assert {job.key for job in (plain, named, control)} == {plain.key}
    assert {job.cell for job in (plain, named, control)} == {plain.cell}


def test_a_fusion_of_other_seeds_shares_the_cell_and_of_more_seeds_does_not() -> None:
    two = [job for job in jobs(seeds=4, model_ensembles=[FUSED]) if job.members]
    four = [job for job in jobs(seeds=4, model_ensembles=[FUSED | {"seeds": 4}]) if job.members]
    assert (len(two), len({job.key for job in two}), len({job.cell for job in two})) == (2, 2, 1)
    assert four[0].cell != two[0].cell


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": [{"name": "triplet", "margin": 0.3, "label": "ours"}], "recipe": {"validation": {"folds": 2}}},
        {"losses": [{"name": "proxy_anchor", "alpha": float("inf")}]},
        {"ensembles": [{"name": "sum", "members": ["triplet", "contrastive"], "weights": [1, 0.5]}]},
        {"seeds": 2, "model_ensembles": [FUSED]},
        {"recipe": {"recall_at": [1, 10], "crop": 16, "crop_area": [0.2, 1], "clip": 1}},
    ],
)
def test_a_stored_job_is_the_job(changes: dict[str, Any]) -> None:
    for job in jobs(**changes):
        text = job.model_dump_json()
        for back in (Job.model_validate_json(text), Job.stored(text)):
            assert back is not None
            assert (back.key, back.cell, back.role) == (job.key, job.cell, job.role)
            assert back.objective.label == job.objective.label
            assert back.member_labels == job.member_labels
            assert back.model_dump_json() == text


def test_a_job_stored_before_a_field_of_the_recipe_was_has_it_as_it_was_then() -> None:
    job = only(recipe={"epochs": 3})
    raw = json.loads(job.model_dump_json())
    del raw["recipe"]["optimizer"], raw["recipe"]["crop_ratio"]
    back = Job.stored(json.dumps(raw))
    assert back is not None
    assert back.key == job.key


@pytest.mark.parametrize("name", ["softmax", "normalized_softmax", "soft_triple", "proxy_nca", "proxy_anchor"])
def test_a_job_stored_before_its_loss_had_a_parameter_is_the_job_without_it(name: str) -> None:
    job, given = only(losses=[name]), only(losses=[{"name": name, "initial_weights": "uniform"}])
    raw = json.loads(job.model_dump_json())
    assert raw["objective"]["parameters"].pop("initial_weights", "none") is None
    back = Job.stored(json.dumps(raw))
    assert back is not None
    assert back.key == job.key != given.key


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"members": [], "recipe": {}}', '{"members": 3, "recipe": {}}'])
def test_what_is_no_job_is_none(text: str) -> None:
    assert Job.stored(text) is None


def test_weights_count_by_their_content_and_are_named_by_their_path(tmp_path: Path) -> None:
    first, copy = tmp_path / "first.pt", tmp_path / "copy.pt"
    first.write_bytes(b"one")
    copy.write_bytes(b"one")
    before, same = weighed(first), weighed(copy)
    assert (before.key, before.cell) == (same.key, same.cell)
    assert before.backbone.label != same.backbone.label
    assert before.backbone.parameters["weights"] == str(first)
    first.write_bytes(b"other")
    assert weighed(first).key != before.key
    assert len({before.key, weighed(first).key, only().key}) == 3


def test_a_stored_job_keeps_its_key_when_its_weights_change(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    file.write_bytes(b"one")
    job = weighed(file)
    text = job.model_dump_json()
    file.unlink()
    back = Job.stored(text)
    assert back is not None
    assert back.key == job.key


def test_weights_that_are_not_there_are_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    for place in (tmp_path / "nothing.pt", tmp_path, tmp_path / "pipe.pt"):
        with pytest.raises(ConfigError, match=r"backbones\.0: weights = .* cannot be read \(.*\); name a file"):
            weighed(place)


def test_one_file_of_weights_under_two_paths_in_a_matrix_is_refused_by_its_labels(tmp_path: Path) -> None:
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"one")
    files = [{"name": "conv4", "weights": str(tmp_path / name), "label": name} for name in ("a.pt", "b.pt")]
    with pytest.raises(ConfigError, match=r"'a\.pt' and 'b\.pt' are the same job; remove one"):
        jobs(backbones=files)


def test_a_revised_part_gives_new_keys_to_its_jobs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [only(backbones=[name]).key for name in ("conv4", "timm/resnet18")]
    monkeypatch.setitem(job_module.REVISIONS, "timm", 99)
    after = [only(backbones=[name]).key for name in ("conv4", "timm/resnet18")]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_a_changed_copy_of_a_part_or_a_recipe_has_an_identity_of_its_own():
    job = only()
    before = job.backbone.digest, job.recipe.identity_text, job.recipe.as_json
    part = job.backbone.model_copy(update={"parameters": {**job.backbone.parameters, "width": 7}})
    recipe = job.recipe.model_copy(update={"epochs": 77})
    assert part.digest != before[0]
    assert json.loads(recipe.identity_text) == {**json.loads(before[1]), "epochs": 77}
    assert json.loads(recipe.as_json)["epochs"] == 77
    assert (job.backbone.digest, job.recipe.identity_text, job.recipe.as_json) == before
    assert job.changed(backbone=part, recipe=recipe).key != job.key


NONE = (
    "",
    "3",
    "[1]",
    "null",
    "{}",
    '{"members": 3}',
    '{"members": [3], "recipe": {}}',
    '{"members": [], "recipe": [1]}',
)


@pytest.mark.parametrize("text", [*NONE, "[" * 100_000, '{"members":' * 5000])
def test_what_is_no_stored_job_is_none(text: str) -> None:
    assert Job.stored(text) is None


def test_a_stored_job_without_end_is_none_and_one_as_deep_as_ensembles_go_is_read() -> None:
    (job,) = jobs()
    found = json.loads(job.model_dump_json())
    for depth, read in ((30, True), (300, False)):
        deep: Any = 1
        for _ in range(depth):
            deep = {"a": deep}
        found["objective"]["parameters"] = {"a": deep}
        assert (Job.stored(json.dumps(found)) is not None) == read


@pytest.mark.parametrize("field", ["clip", "trunk_rate", "warmup_epochs"])
def test_an_infinite_value_of_a_recipe_is_stored_as_such(field):
    job = only().changed(recipe=only().recipe.model_copy(update={field: math.inf}))
    found = Job.stored(job.model_dump_json())
    assert found == job
    assert found.key == job.key != only().key
    assert json.loads(job.recipe.as_json)[field] == math.inf
