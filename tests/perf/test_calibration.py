"""The page of `make calibrate` from rows that a test chooses: what is drawn, and what is counted."""

from pathlib import Path

import pandas as pd
import pytest
from perf.calibration import CASES, Drawn, Sizes, decided, other_seeds, page, same_seeds
from perf.faults import CLEAN, FAULTS, ONE_ULP, UNNORMALISED, folder
from support.checked_runs import level, lower, matrix, result

import bench
from bench import store
from bench.matrix.expand import expand

SIZES = Sizes(checks=4)
JOBS = expand(matrix(seeds=SIZES.pool))


def stored(place: Path, score, *, seeds: int, names=(), bits: str = "a") -> pd.DataFrame:
    for job in JOBS:
        if job.seed < seeds and (not names or job.objective.name in names):
            store.write(place, result(job, score(job), bits))
    return bench.load(place)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    home = tmp_path_factory.mktemp("runs")
    found = {CLEAN.label: stored(folder(home, CLEAN), level, seeds=SIZES.pool)}
    found[ONE_ULP.label] = stored(folder(home, ONE_ULP), lower({}, noise=0.001), seeds=10, bits="b")
    for fault in (*FAULTS, UNNORMALISED):
        score = lower({"triplet": 0.2}, noise=0.001)
        found[fault.label] = stored(folder(home, fault), score, seeds=10, names=fault.touches, bits="c")
    return {label: frame.assign(device="CPU") for label, frame in found.items()}


def first(jobs):
    return list({job.cell: job for job in jobs}.values())


def test_fresh_seeds_are_never_in_the_baseline(rows):
    for drawn in other_seeds(rows, SIZES):
        assert (len(drawn.baseline), len(drawn.fresh)) == (10, 5)
        assert not set(drawn.baseline) & set(drawn.fresh)


def test_the_same_seeds_are_in_the_baseline_and_untouched_methods_are_those_of_it(rows):
    (fault,) = [one for one in FAULTS if "proxies" in one.label]
    for drawn in same_seeds(fault.label)(rows, SIZES):
        assert set(drawn.fresh) <= set(drawn.baseline)
        found = {one.label: one.verdict for one in decided(drawn, first(JOBS), rows[CLEAN.label]).verdicts}
        assert found["triplet"] == found["contrastive"] == "same bits"


def test_a_check_is_decided_as_the_command_does(rows):
    drawn = Drawn(range(10), (0, 1, 2, 3, 4), rows[CLEAN.label])
    found = decided(drawn, first(JOBS), rows[CLEAN.label])
    assert (found.seeds, {one.verdict for one in found.verdicts}) == (1, {"same bits"})
    changed = rows[FAULTS[3].label]
    found = decided(drawn._replace(rows=changed), first(JOBS), rows[CLEAN.label])
    assert (found.seeds, found.regressed) == (3, True)


def test_the_page_counts_and_is_the_same_twice(rows):
    text = page(rows, JOBS, SIZES, command="make calibrate")
    few = Sizes(checks=1)
    assert page(rows, JOBS, few, command="make calibrate") == page(rows, JOBS, few, command="make calibrate")
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}
    assert lines.keys() >= CASES.keys()
    assert "| 0 of 4 | 0 % (0.0 to 60.2) | 0 | 0 | 0 |" in lines["nothing but one ulp changed, same seeds"]
    assert "| 4 of 4 | 100 % (39.8 to 100.0) | 0 | 4 | 0 | triplet 4" in lines["learning rates × 0.1"]
    assert "20 seeds as they are, 10 with one initial weight changed by one ulp, and 10 or more" in text
