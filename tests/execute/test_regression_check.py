"""The check as a function: which seeds run, when it stops, what it says, and what cannot be compared."""

import tempfile
from pathlib import Path

import pytest
from support.checked_runs import METHODS, executor, level, lower, matrix, write_baseline

import bench
from bench import store
from bench.analysis.regression_baseline import NotComparable
from bench.execute import matrix_run
from bench.execute.regression_check import NothingMeasured, make_baseline
from bench.matrix.job import ConfigError

SAME = dict.fromkeys((*METHODS, "mean of all"), "same bits")


@pytest.fixture
def runs(monkeypatch):
    """Sets what a fresh run scores; the list of jobs that ran."""

    def set_scores(score, **options):
        ran = []
        monkeypatch.setitem(matrix_run.EXECUTORS, "local", executor(score, ran=ran, **options))
        return ran

    return set_scores


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return write_baseline(tmp_path_factory.mktemp("baseline") / "b.parquet")


def verdicts(found):
    return {one.label: one.verdict for one in found.verdicts}


def seeds(ran):
    return sorted({seed for _, seed in ran})


def test_the_same_bits_of_seed_0_are_all_that_is_looked_at(runs, baseline):
    ran = runs(level)
    found = bench.check(matrix(), baseline)
    assert (verdicts(found), found.seeds, seeds(ran)) == (SAME, 1, [0])
    assert not found.regressed
    assert not found.undecided
    assert (found.notes, found.absent) == ((), ())
    assert {one.drop for one in found.verdicts} == {0}


def test_other_bits_and_the_same_order_are_looked_at_three_times(runs, baseline):
    ran = runs(level, bits="b")
    found = bench.check(matrix(), baseline)
    assert set(verdicts(found).values()) == {"same order"}
    assert (found.seeds, seeds(ran), len(ran)) == (3, [0, 1, 2], 12)


def test_a_large_drop_is_worse_at_three_seeds(runs, baseline):
    ran = runs(lower({"triplet": 0.1}))
    found = bench.check(matrix(), baseline)
    assert found.regressed
    assert (verdicts(found)["triplet"], seeds(ran)) == ("worse", [0, 1, 2])
    drop = {one.label: one.drop for one in found.verdicts}["triplet"]
    assert drop == pytest.approx(0.1, abs=0.01)
    (board,) = found.boards
    assert board.paired


def test_what_is_open_at_three_seeds_is_looked_at_with_five(runs, baseline):
    ran = runs(lower({}, noise=0.05))
    found = bench.check(matrix(), baseline)
    assert seeds(ran) == [0, 1, 2, 3, 4]
    assert found.undecided
    assert not found.regressed


def test_small_noise_is_no_worse(runs, baseline):
    runs(lower({}, noise=0.0005))
    assert set(verdicts(bench.check(matrix(), baseline)).values()) == {"no worse"}


def test_a_job_that_fails_is_a_failure_at_once(runs, baseline):
    ran = runs(lambda job: "The disk was full." if job.objective.label == "arc_face" else level(job))
    found = bench.check(matrix(), baseline)
    (failed,) = [one for one in found.verdicts if one.verdict == "failed"]
    assert (failed.label, failed.reason) == ("arc_face", "seed 0 failed: The disk was full.")
    assert found.regressed
    assert seeds(ran) == [0]


def test_a_job_that_failed_in_the_baseline_too_is_no_failure(runs, tmp_path):
    def score(job):
        return "Never could." if (job.objective.label, job.seed) == ("arc_face", 1) else level(job)

    file = write_baseline(tmp_path / "b.parquet", score)
    runs(lambda job: score(job) if isinstance(score(job), str) else lower({}, noise=0.0005)(job))
    found = bench.check(matrix(), file)
    assert "failed" not in verdicts(found).values()
    assert {one.label: one.seeds for one in found.verdicts}["arc_face"] == (9, found.seeds - 1)
    runs(lambda job: score(job) if job.objective.label == "arc_face" else lower({}, noise=0.0005)(job))
    found = bench.check(matrix(), file)
    assert (found.seeds, verdicts(found)["arc_face"]) == (3, "same bits")


def test_a_fresh_score_that_is_missing_is_a_failure(runs, baseline):
    runs(lambda job: None if job.objective.label == "arc_face" else level(job))
    assert "seed 0 has no score recall_at_1" in [one.reason for one in bench.check(matrix(), baseline).verdicts]


def test_nothing_measured(runs, baseline):
    runs(lambda job: "The disk was full.")
    with pytest.raises(NothingMeasured, match=r"4 of 4 jobs have no score \(arc_face seed 0: The disk was full\)\."):
        bench.check(matrix(), baseline)


def test_nothing_is_kept_and_nothing_stored_is_used_unless_asked(runs, baseline, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    kept = tmp_path / "runs"
    ran = runs(level)
    bench.check(matrix(), baseline, reuse=kept)
    assert len(ran) == len(bench.load(kept)) == 4
    bench.check(matrix(), baseline, reuse=kept)
    assert len(ran) == 4
    bench.check(matrix(), baseline)
    assert len(ran) == 8
    assert list((tmp_path / "temporary").iterdir()) == []


def test_one_seed_in_the_baseline_tells_the_same_bits_and_nothing_else(runs, tmp_path):
    file = write_baseline(tmp_path / "b.parquet", seeds=1)
    ran = runs(lower({"triplet": 0.5}))
    found = bench.check(matrix(), file)
    assert set(verdicts(found).values()) == {"cannot tell"}
    assert any("has one seed of each method, so no drop can be called worse" in note for note in found.notes)
    assert seeds(ran) == [0]
    runs(level)
    assert verdicts(bench.check(matrix(), file)) == SAME


def test_seeds_that_the_baseline_does_not_have_count_as_other_seeds(runs, tmp_path):
    runs(lower({"triplet": 0.2}))
    found = bench.check(matrix(), write_baseline(tmp_path / "b.parquet", seeds=2))
    assert {one.label: one.seeds for one in found.verdicts}["triplet"] == (2, found.seeds)
    assert verdicts(found)["triplet"] == "worse"


def test_two_methods(runs, tmp_path):
    pair = {"losses": ["triplet", "contrastive"]}
    file = write_baseline(tmp_path / "b.parquet", **pair)
    runs(lower({"triplet": 0.1}))
    assert verdicts(bench.check(matrix(**pair), file))["triplet"] == "worse"


@pytest.mark.parametrize(("drop", "verdict"), [(0.1, "worse"), (0.0, "no worse")])
def test_a_method_all_of_whose_seeds_are_identical(runs, tmp_path, drop, verdict):
    """The others' variance is borrowed for it."""
    still = write_baseline(tmp_path / "b.parquet", lambda job: 0.7 if job.objective.label == "triplet" else level(job))
    runs(lambda job: 0.7 - drop - 1e-6 if job.objective.label == "triplet" else lower({}, noise=0.0005)(job))
    assert verdicts(bench.check(matrix(), still))["triplet"] == verdict


def test_no_method_varies_at_all(runs, tmp_path):
    file = write_baseline(tmp_path / "b.parquet", lambda job: 0.7)
    runs(lambda job: 0.6)
    found = bench.check(matrix(), file)
    assert set(verdicts(found).values()) == {"cannot tell"}
    assert all(one.reason for one in found.verdicts)


def test_labels_that_two_methods_of_the_baseline_share_are_told_apart_by_cell(runs, tmp_path):
    twins = [{"name": "triplet", "margin": 0.3}, {"name": "triplet", "margin": 0.1, "label": "other"}]
    file = write_baseline(tmp_path / "b.parquet", lambda job: 0.9, losses=[{**twins[1], "label": "triplet"}])
    both = write_baseline(tmp_path / "c.parquet", losses=["triplet"])
    store.pack(_together(tmp_path / "all", file.with_suffix(""), both.with_suffix("")), tmp_path / "all.parquet")
    assert bench.load(tmp_path / "all.parquet")["objective"].unique().tolist() == ["triplet"]
    runs(level)
    found = bench.check(matrix(losses=["triplet"]), tmp_path / "all.parquet")
    assert [one.verdict for one in found.verdicts] == ["same bits"]


def _together(folder: Path, *others: Path) -> Path:
    folder.mkdir()
    for place in (job for other in others for job in other.iterdir()):
        place.rename(folder / place.name)
    return folder


def test_methods_without_a_baseline_are_named_and_the_others_compared(runs, tmp_path):
    file = write_baseline(tmp_path / "b.parquet", losses=["triplet", "contrastive", "arc_face"])
    runs(level)
    more = [{"name": "arc_face", "margin": 0.4}, "multi_similarity"]
    found = bench.check(matrix(losses=["triplet", "contrastive", *more]), file)
    assert verdicts(found).keys() == {"triplet", "contrastive", "mean of all"}
    assert found.undecided
    told = {one.label: one.reason for one in found.absent}
    assert told["multi_similarity"] == "the baseline does not have it"
    assert told["arc_face(margin=0.4)"] == "objective margin is 0.5 there, 0.4 here"


def test_a_method_without_a_baseline_is_named_with_its_place_where_there_are_several(runs, tmp_path):
    file = write_baseline(tmp_path / "b.parquet")
    runs(level)
    found = bench.check(matrix(backbones=[{"name": "conv4", "width": 8}, {"name": "conv4", "width": 4}]), file)
    assert len(found.boards) == 1
    assert [one.label.partition(", ")[0].partition("(")[0] for one in found.absent] == [
        f"{name} on glyphs" for name in METHODS
    ]
    assert {one.reason for one in found.absent} == {"backbone width is 8 there, 4 here"}


def test_an_older_baseline_has_no_hashes(runs, tmp_path):
    file = write_baseline(tmp_path / "b.parquet")
    rows = bench.load(file).drop(columns=["embeddings_sha", "first_hits_sha"])
    rows.to_parquet(tmp_path / "older.parquet")
    runs(level)
    found = bench.check(matrix(), tmp_path / "older.parquet")
    assert "same bits" not in verdicts(found).values()
    assert any("older than the hashes" in note for note in found.notes)


def test_another_machine_is_noted(runs, baseline, tmp_path):
    bench.load(baseline).assign(torch="2.0.0", threads=4).to_parquet(tmp_path / "there.parquet")
    runs(level, bits="b")
    (note,) = bench.check(matrix(), tmp_path / "there.parquet").notes
    assert note == "The baseline was made elsewhere, so bits may differ: torch 2.0.0, here 2.11.0; threads 4, here 1."


def test_boards_are_judged_apart(runs, tmp_path):
    places = {"backbones": [{"name": "conv4", "width": 8}, {"name": "conv4", "width": 4}]}
    file = write_baseline(tmp_path / "b.parquet", **places)
    runs(lambda job: lower({"triplet": 0.1} if "width=4" in job.backbone.label else {}, noise=0.0005)(job))
    wide, narrow = bench.check(matrix(**places), file).boards
    assert (wide.methods[0].verdict, narrow.methods[0].verdict) == ("no worse", "worse")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"recipe": {"epochs": 3}}, "recipe.epochs is 3 there, 2 here"),
        ({"backbones": [{"name": "conv4", "width": 16}]}, "backbone width is 16 there, 8 here"),
        ({"losses": ["histogram"]}, "it is one of another matrix, and has no method of this one"),
    ],
)
def test_another_recipe_backbone_or_matrix_is_named_before_anything_runs(runs, tmp_path, changes, sentence):
    ran = runs(level)
    with pytest.raises(NotComparable) as error:
        bench.check(matrix(), write_baseline(tmp_path / "b.parquet", lambda job: 0.5, **changes))
    assert str(error.value) == f"{tmp_path}/b.parquet is not comparable: {sentence}."
    assert ran == []


def test_another_metric(runs, baseline):
    runs(level)
    assert bench.check(matrix(), baseline, metric="map_at_r").metric == "map_at_r"
    with pytest.raises(NotComparable, match=r"has no score nmi; it has recall_at_1, map_at_r\."):
        bench.check(matrix(), baseline, metric="nmi")
    with pytest.raises(ConfigError, match="there is no score 'recal_at_1'; did you mean 'recall_at_1'"):
        bench.check(matrix(), baseline, metric="recal_at_1")


def test_a_baseline_is_what_a_check_takes(runs, tmp_path):
    ran, file = runs(level), tmp_path / "deep" / "b.parquet"
    told = []
    assert make_baseline(matrix(), file, tell=told.append) == 40 == len(ran)
    assert {event.kind for event in told} == {"planned", "started", "done"}
    assert len(bench.load(file)) == 40
    assert bench.check(matrix(), file).seeds == 1
    assert make_baseline(matrix(), file, seeds=2) == 8


def test_no_baseline_is_made_of_jobs_that_fail(runs, tmp_path):
    runs(lambda job: "The disk was full." if job.seed == 1 else level(job))
    with pytest.raises(NothingMeasured, match=r"4 of 8 jobs have no score .*; so no baseline was written"):
        make_baseline(matrix(), tmp_path / "b.parquet", seeds=2)
    assert not (tmp_path / "b.parquet").exists()


def test_what_is_something_else_is_not_overwritten_and_nothing_runs(runs, tmp_path):
    ran, file = runs(level), tmp_path / "b.parquet"
    file.write_text("mine")
    with pytest.raises(store.StoreError, match="was not made by `bench pack`"):
        make_baseline(matrix(), file)
    assert (ran, file.read_text()) == ([], "mine")
