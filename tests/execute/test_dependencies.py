"""When a job may start, seen from what a run with two free places would take."""

import pandas as pd
from support.jobs import tiny

from bench import store
from bench.analysis.controls import controls
from bench.execute.dependencies import Queue, StoredJobs
from bench.store.row import Row

MEMBERS = ["triplet", "contrastive"]
FUSED = {"name": "concatenate", "members": MEMBERS}
NOTHING = store.empty()


def row(job, status="done"):
    recall = {"triplet": 0.5, "contrastive": 0.4}.get(job.objective.name, 0.6)
    dim = 32 if job.objective.name == "concatenate" else job.recipe.dim
    scores = {"recall_at_1": recall} if status == "done" else {}
    return Row.of(job, status, scores=scores, embedding_dim=dim).table().to_pandas()


class Run:
    """A queue whose jobs end when the test says so."""

    def __init__(self, jobs, *, stored=NOTHING, choose=True):
        self.rows = {}
        self.queue = Queue(jobs, StoredJobs(stored, self.rows.__getitem__), choose=choose)
        self.planned = list(self.queue.plan())

    def take(self):
        taken = next(self.queue.ready(), None)
        if taken is None:
            return None
        self.queue.start(taken)
        return taken.objective.name, taken.seed, taken.control

    def end(self, job, status="done"):
        self.rows[job.key] = row(job, status)
        return [(event.kind, event.job.objective.name, event.job.control) for event in self.queue.end(job)]


def named(jobs, name, seed=0):
    return next(job for job in jobs if (job.objective.name, job.seed) == (name, seed))


def test_a_model_ensemble_starts_when_its_members_have_ended_and_goes_first():
    jobs = tiny(losses=[*MEMBERS, "proxy_nca"], model_ensembles=[FUSED])
    run = Run(jobs)
    assert [run.take() for _ in MEMBERS] == [("triplet", 0, False), ("contrastive", 0, False)]
    run.end(named(jobs, "triplet"))
    run.end(named(jobs, "contrastive"))
    assert [run.take() for _ in range(3)] == [("concatenate", 0, False), ("proxy_nca", 0, False), None]


def test_a_member_that_failed_has_ended_too():
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED])
    run = Run(jobs)
    assert [run.take() for _ in range(3)] == [("triplet", 0, False), ("contrastive", 0, False), None]
    run.end(named(jobs, "triplet"), "failed")
    assert run.take() is None
    run.end(named(jobs, "contrastive"))
    assert run.take() == ("concatenate", 0, False)


def test_controls_start_when_what_they_are_chosen_by_has_ended_and_wait_for_nothing_else():
    jobs = tiny(losses=[*MEMBERS, "proxy_nca"], model_ensembles=[FUSED], seeds=2)
    run = Run(jobs)
    needed = [job for job in jobs if job.objective.name != "proxy_nca"]
    said = [run.end(job) for job in needed]  # in the order of the matrix, so the model ensembles last
    assert said[:-2] == [[]] * 4
    controls_of_one = [("planned", "pca", True), ("planned", "triplet", True), ("planned", "triplet", True)]
    assert said[-2:] == [controls_of_one, controls_of_one]
    assert run.take()[2]  # although proxy_nca has been waiting for longer


def test_in_any_order_the_same_controls_are_chosen_as_from_all_rows():
    jobs = tiny(losses=MEMBERS, ensembles=[{"name": "sum", "members": MEMBERS, "recipe": {"epochs": 6}}],
                model_ensembles=[FUSED, {"name": "pca", "members": ["sum", "triplet"], "dim": 4}], seeds=3)  # fmt: skip
    expected = {job.key for job in controls(jobs, pd.concat([row(job) for job in jobs]))}
    assert expected
    for order in (jobs, jobs[::-1], (*jobs[1::2], *jobs[::2])):
        run = Run(jobs)
        for job in order:
            run.end(job)
        assert run.queue.known - {job.key for job in jobs} == expected


def test_what_is_stored_is_not_run_again_and_its_controls_are_planned_at_once():
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=2)
    run = Run(jobs, stored=pd.concat([row(job) for job in jobs]))
    kinds = [(event.kind, event.job.control) for event in run.planned]
    assert kinds == [("stored", False)] * 6 + [("planned", True)] * 6
    assert run.take()[2]


def test_without_controls_an_ensemble_is_not_held_against_anything():
    jobs = tiny(losses=MEMBERS, model_ensembles=[FUSED], seeds=2)
    run = Run(jobs, choose=False)
    assert [said for job in jobs for said in run.end(job)] == []


def test_a_control_that_the_matrix_asks_for_anyway_is_one_job():
    wide = {"name": "triplet", "label": "wide", "recipe": {"dim": 32}}
    jobs = tiny(losses=[*MEMBERS, wide], model_ensembles=[FUSED], seeds=2)
    run = Run(jobs)
    planned = [event for job in jobs for event in run.end(job)]
    assert planned.count(("planned", "triplet", True)) == 2  # only those as long as the ensemble took
