"""A student: one model that learns from what others have stored, from the matrix to its row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.jobs import BACKBONE, DATASET, RECIPE, go, tiny
from torch import nn

import bench
from bench import store
from bench.analysis.boards import boards
from bench.analysis.controls import epochs
from bench.analysis.gains import gains
from bench.analysis.trained_models import trained_models
from bench.job.students import Teacher, relations
from bench.job.watch import Stopped, Terms
from bench.matrix.file import Matrix, load
from bench.matrix.job import ConfigError, Job
from bench.matrix.matrix_text import written

pytestmark = pytest.mark.usefixtures("one_thread")

TEACHERS = ["contrastive", "proxy_nca"]
STUDENT = {"name": "relations", "members": TEACHERS}


def taught(results: Path, **student: object) -> tuple[Job, ...]:
    jobs = tiny(losses=TEACHERS, students=[STUDENT | student])
    for job in jobs[:2]:
        go(job, results)
    return jobs


def test_a_student_is_one_model_of_a_teachers_size_and_leaves_a_row_as_any_other(tmp_path: Path) -> None:
    one, _, student = taught(tmp_path)
    result = go(student, tmp_path)
    row, other = (bench.load(tmp_path).set_index("key").loc[job.key] for job in (student, one))
    assert row[["status", "kind", "embedding_dim"]].tolist() == ["done", "student", 16]
    assert row["parameters"] == other["parameters"]
    assert list(row["members"]) == TEACHERS
    assert row["seconds_train"] > 0
    assert len(result.history) == 2
    assert store.training(tmp_path, student.key).shape == store.training(tmp_path, one.key).shape


def test_without_weight_it_is_its_first_teacher_again(tmp_path: Path) -> None:
    one, _, student = taught(tmp_path, weight=0.0)
    assert np.array_equal(go(student, tmp_path).embeddings, store.embeddings(tmp_path, one.key))


def test_it_comes_nearer_to_its_teachers(tmp_path: Path) -> None:
    long = {"losses": TEACHERS, "recipe": {"epochs": 15}}
    one, other, student = tiny(students=[STUDENT | {"weight": 100.0}], **long)
    for job in (one, other, student):
        go(job, tmp_path)
    spaces = [store.training(tmp_path, job.key) for job in (one, other, student)]
    first, second, own = (points @ points.T for points in spaces)
    likeness = [np.corrcoef(found.ravel(), (first + second).ravel())[0, 1] for found in (own, first)]
    assert likeness[0] > likeness[1] + 0.02, "its first teacher is what it would be without a second"


def test_the_teachers_are_part_of_its_key_and_so_is_what_it_learns_by() -> None:
    def key(**changes: object) -> str:
        return tiny(losses=[*TEACHERS, "triplet"], students=[STUDENT | changes])[-1].key

    keys = [key(), key(members=TEACHERS[::-1]), key(members=["contrastive", "triplet"]), key(temperature=1.0)]
    assert len(set(keys)) == 4
    assert tiny(losses=[*TEACHERS, "triplet"])[0].key == tiny(losses=TEACHERS, students=[STUDENT])[0].key


def test_it_is_trained_as_its_first_teacher_is() -> None:
    slow = {"name": "triplet", "recipe": {"trunk_rate": 1e-5, "epochs": 3}}
    *_, student = tiny(
        losses=["contrastive", slow], students=[{"name": "relations", "members": ["triplet", "contrastive"]}]
    )
    assert (student.recipe.trunk_rate, student.recipe.epochs, student.loss.name) == (1e-5, 3, "triplet")
    assert epochs(student) == 3 + 3 + 2


def test_stopped_and_continued_it_has_the_same_bits(tmp_path: Path) -> None:
    *_, student = taught(tmp_path)
    straight = go(student, tmp_path).embeddings
    steps = iter(range(100))
    with pytest.raises(Stopped):
        go(student, tmp_path, terms=Terms(every=0.0, stop=lambda: next(steps) > 3))
    again = go(student, tmp_path)
    assert again.row.resumed == 1
    assert np.array_equal(again.embeddings, straight)


def test_without_a_teacher_it_is_skipped_with_the_reason(tmp_path: Path) -> None:
    jobs = tiny(losses=TEACHERS, students=[STUDENT])
    go(jobs[0], tmp_path)
    row = go(jobs[2], tmp_path).row
    assert (row.status, "its member 'proxy_nca' has no embeddings" in str(row.reason)) == ("skipped", True)


@pytest.mark.usefixtures("no_workers")
def test_a_run_trains_teachers_first_and_holds_the_student_against_the_best(tmp_path: Path) -> None:
    asked = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": TEACHERS, "students": [STUDENT], "seeds": 2}
    matrix = Matrix.model_validate(asked | {"recipe": RECIPE | {"epochs": 1}})
    assert load_again(matrix, tmp_path) == matrix
    results = tmp_path / "runs"
    ended = [event.job for event in bench.run(matrix, results=results, workers=1) if event.kind == "done"]
    order = [job.key for job in ended]
    students = [job for job in ended if job.kind == "student"]
    assert len(students) == 2
    assert all(order.index(key) < order.index(job.key) for job in students for key in job.member_keys)
    assert [event.kind for event in bench.run(matrix, results=results, workers=1)].count("stored") >= 6
    rows = bench.load(results)
    (board,) = boards(rows)
    (gain,) = gains(board.lines, {job.cell: job for job in ended})
    assert (gain.line.kind, gain.gain is not None) == ("student", True)
    models = trained_models(rows)
    assert {model.key for model in models[students[0].key]} == {*students[0].member_keys, students[0].key}


def load_again(matrix: Matrix, folder: Path) -> Matrix:
    (folder / "again.toml").write_text(written(matrix, headline="again"), encoding="utf-8")
    return load(folder / "again.toml")


def test_a_teacher_that_is_not_trained_here_is_named() -> None:
    with pytest.raises(ConfigError, match=r"students.0: 'tripet' is not trained here; did you mean 'triplet'"):
        tiny(losses=["triplet"], students=[{"name": "relations", "members": ["tripet"]}])


def test_images_that_the_teachers_did_not_store_learn_from_their_own_loss_alone() -> None:
    class Mean(nn.Module):
        def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return embeddings.mean() + 0.0 * labels.sum()

    place = torch.tensor([-1, 0, -1, 1, 2])
    module = relations(Mean(), Teacher(torch.arange(5), place, torch.eye(3)), weight=2.0, temperature=0.5)
    embeddings, numbers = torch.randn(4, 6), torch.tensor([4, 0, 2, 1])
    units = torch.nn.functional.normalize(embeddings[[0, 3]])
    rows = ((units @ units.T) / 0.5).softmax(1), (torch.eye(2) / 0.5).softmax(1)
    expected = 0.25 * sum((p * (p / q).log()).sum() for q, p in zip(*rows, strict=True)) / 2
    assert module(embeddings, numbers).item() == pytest.approx((embeddings.mean() + 2 * expected).item(), rel=1e-4)
    assert module(embeddings[1:3], numbers[1:3]).item() == pytest.approx(embeddings[1:3].mean().item())
