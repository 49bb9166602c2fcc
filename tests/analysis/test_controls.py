"""Controls: which member an ensemble is held against, and as what it is trained anew."""

from typing import Any

import pandas as pd
import pytest
from support.jobs import tiny

from bench.analysis.controls import alone, controls, needs, trained, waiting
from bench.matrix.job import Job
from bench.store.row import Row

MEMBERS = ["triplet", "contrastive"]
FUSED = {"name": "concatenate", "members": MEMBERS}


def rows(jobs: tuple[Job, ...], recalls: dict[str, list[float]], **dims: int) -> pd.DataFrame:
    """A finished row of every job whose objective has a score for its seed; `dims` are of names of objectives."""
    found = []
    for job in jobs:
        scores = recalls.get(job.objective.name, [])
        if job.seed < len(scores):
            dim = dims.get(job.objective.name, 16)
            found.append(Row.of(job, "done", scores={"recall_at_1": scores[job.seed]}, embedding_dim=dim).table())
    return pd.concat([table.to_pandas() for table in found], ignore_index=True)


def even(*others: str, seeds: int = 2) -> dict[str, list[float]]:
    """The same score for the members and others in every seed."""
    return {name: [0.5] * seeds for name in (*MEMBERS, *others)}


def described(jobs: tuple[Job, ...]) -> list[tuple[Any, ...]]:
    return [(job.seed, job.objective.label, job.recipe.dim, job.recipe.epochs) for job in jobs]


def test_a_model_ensemble_is_held_against_its_best_member_at_its_size_and_cost() -> None:
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=2)
    # Over the other seed, contrastive is best for seed 0, triplet for seed 1.
    scores = {"triplet": [0.9, 0.2], "contrastive": [0.1, 0.8], "concatenate": [0.5, 0.5]}
    label = "pca[concatenate[triplet, contrastive]](dim=16)"
    assert described(controls(jobs, rows(jobs, scores, concatenate=32))) == [
        (0, label, 16, 2),
        (0, "contrastive", 32, 2),
        (0, "contrastive", 16, 4),
        (1, label, 16, 2),
        (1, "triplet", 32, 2),
        (1, "triplet", 16, 4),
    ]


def test_controls_are_marked_in_their_rows_and_are_the_same_jobs_as_without_the_mark() -> None:
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=2)
    scores = even("concatenate")
    found = controls(jobs, rows(jobs, scores, concatenate=32))
    assert {Row.of(job, "done").kind for job in found} == {"control"}
    (wide,) = tiny(losses=["triplet"], recipe={"dim": 32})
    assert wide.key in {job.key for job in found}
    assert Row.of(found[0], "done").members == ("concatenate[triplet, contrastive]",)


def test_one_model_of_the_same_size_needs_no_control() -> None:
    jobs = tiny(losses=MEMBERS, ensembles=[{"name": "sum", "members": MEMBERS}], seeds=2)
    assert controls(jobs, rows(jobs, even("sum"))) == ()


def test_a_smaller_ensemble_is_held_against_a_smaller_member() -> None:
    jobs = tiny(losses=MEMBERS, ensembles=[{"name": "compressed_heads", "members": MEMBERS}], seeds=2)
    scores = {"triplet": [0.5, 0.5], "contrastive": [0.4, 0.4], "compressed_heads": [0.6, 0.6]}
    found = controls(jobs, rows(jobs, scores, compressed_heads=8))
    assert described(found) == [(0, "triplet", 8, 2), (1, "triplet", 8, 2)]


def test_an_ensemble_trained_for_longer_is_held_against_a_member_trained_for_as_long() -> None:
    ensemble = {"name": "sum", "members": MEMBERS, "recipe": {"epochs": 6}}
    jobs = tiny(losses=MEMBERS, ensembles=[ensemble], seeds=2)
    scores = {"triplet": [0.5, 0.5], "contrastive": [0.4, 0.4], "sum": [0.6, 0.6]}
    assert described(controls(jobs, rows(jobs, scores))) == [(0, "triplet", 16, 6), (1, "triplet", 16, 6)]


def test_a_rank_fusion_has_no_size() -> None:
    jobs = tiny(losses=MEMBERS, model_ensembles=[{"name": "rank_fusion", "members": MEMBERS}], seeds=2)
    table = rows(jobs, even("rank_fusion"))
    table["embedding_dim"] = table["embedding_dim"].where(table["kind"] == "loss")
    assert [job.recipe.epochs for job in controls(jobs, table)] == [4, 4]


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": ["triplet"], "ensembles": [{"name": "sum", "members": MEMBERS, "recipe": {"dim": 32}}]},
        {"seeds": 1, "model_ensembles": [FUSED]},
    ],
    ids=["a member is not trained alone", "one seed leaves no other"],
)
def test_without_members_or_other_seeds_nothing_is_chosen(changes: dict[str, Any]) -> None:
    jobs = tiny(**{"losses": MEMBERS, "seeds": 2, **changes})
    scores = even("sum", "concatenate")
    table = rows(jobs, scores, concatenate=32, sum=32)
    assert controls(jobs, table) == ()
    assert waiting(jobs, table) == 0


def test_ensembles_wait_for_their_members() -> None:
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=3)
    half = rows(jobs, {"triplet": [0.5, 0.5, 0.5], "concatenate": [0.5] * 3}, concatenate=32)
    assert controls(jobs, half) == ()
    assert waiting(jobs, half) == 3
    assert waiting(jobs, rows(jobs, even("concatenate", seeds=3), concatenate=32)) == 0


def test_other_seeds_of_one_loss_are_held_against_one_of_them() -> None:
    fused = {"name": "concatenate", "members": ["triplet"], "seeds": 2}
    jobs = tiny(losses=["triplet"], model_ensembles=[fused], seeds=4)
    found = controls(jobs, rows(jobs, {"triplet": [0.5] * 4, "concatenate": [0.6] * 4}, concatenate=32))
    assert [(job.seed, job.recipe.dim, job.recipe.epochs) for job in found if job.kind == "loss"] == [
        *((0, 32, 2), (0, 16, 4)),
        *((2, 32, 2), (2, 16, 4)),
    ]


def keys(jobs: tuple[Job, ...], *names: str) -> set[str]:
    return {job.key for job in jobs if job.objective.name in names}


def test_an_ensemble_needs_itself_and_every_seed_of_its_members() -> None:
    jobs = tiny(
        losses=[*MEMBERS, "softmax"], model_ensembles=[FUSED], ensembles=[{"name": "sum", "members": MEMBERS}], seeds=3
    )
    for job in jobs:
        wanted = keys(jobs, *MEMBERS) | {job.key} if job.objective.members else set()
        assert needs(job, trained(jobs)) == wanted


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": ["triplet"], "ensembles": [{"name": "sum", "members": MEMBERS}]},
        {"seeds": 1, "model_ensembles": [FUSED]},
    ],
    ids=["a member is not trained alone", "one seed leaves no other"],
)
def test_an_ensemble_without_controls_needs_nothing(changes: dict[str, Any]) -> None:
    jobs = tiny(**{"losses": MEMBERS, "seeds": 2, **changes})
    assert {needs(job, trained(jobs)) for job in jobs} == {frozenset()}


@pytest.mark.parametrize("status", ["done", "diverged"])
def test_what_it_needs_is_enough_to_choose(status: str) -> None:
    """Once all that is needed has a final outcome, nothing more is waited for."""
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=2)
    table = rows(jobs, even("concatenate"), concatenate=32)
    table.loc[table["objective"] == "triplet", "status"] = status
    assert waiting(jobs, table) == 0
    table.loc[table["objective"] == "triplet", "status"] = "failed"
    assert waiting(jobs, table) == 2


EPOCHS = {"own": 3, "usual": 2, "other": 5, "another": 7, "untrained": 0}


def under(name: str, *, control: bool = False) -> tuple[Job, ...]:
    found = tiny(losses=["triplet"], recipe={"epochs": EPOCHS[name]}, seeds=2)
    return tuple(job.changed(control=control) for job in found)


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        (["usual", "own", "other"], "own"),
        (["other", "usual"], "usual"),
        (["other"], "other"),
        (["other", "another"], None),
        (["untrained"], None),
        (["untrained", "other"], "other"),
        (["control own", "other"], "other"),
        (["control own"], "own"),
    ],
)
def test_a_member_alone_is_under_the_recipe_of_the_ensemble_else_the_usual_else_the_only_one(
    there: list[str], chosen: str | None
) -> None:
    (ensemble, *_) = tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet"], "recipe": {"epochs": 3}}])
    usual = tiny(losses=["softmax", "proxy_anchor", "contrastive"], seeds=2)
    jobs = [job for name in there for job in under(name.split()[-1], control="control" in name)]
    (found,) = alone(ensemble, trained([*usual, ensemble, *jobs])).values()
    assert {job.key for job in found.values()} == ({job.key for job in under(chosen)} if chosen else set())


def test_a_member_is_known_by_what_it_does_and_not_by_its_label() -> None:
    named = {"name": "triplet", "label": "ours"}
    other = {"name": "triplet", "margin": 0.9, "label": "triplet"}
    jobs = [*tiny(losses=[named, other]), *tiny(losses=[], ensembles=[{"name": "sum", "members": ["triplet"]}])]
    (found,) = alone(jobs[-1], trained(jobs)).values()
    assert [job.objective.label for job in found.values()] == ["ours"]


def test_a_fused_member_is_the_job_that_was_fused() -> None:
    long = {"name": "triplet", "recipe": {"epochs": 9}}
    jobs = tiny(losses=[long, "contrastive"], model_ensembles=[FUSED], seeds=2)
    plain = tiny(losses=["triplet"], seeds=2)
    fused = next(job for job in jobs if job.members)
    first, _ = alone(fused, trained([*plain, *jobs])).values()
    assert {job.key for job in first.values()} == keys(jobs, "triplet")
