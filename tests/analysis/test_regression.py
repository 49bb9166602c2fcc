"""Verdicts from rows: what is equal, what the gate is given, and what fails."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.checked_runs import level, lower, matrix, result, write_baseline

import bench
from bench.analysis.regression import judge, settled
from bench.analysis.regression_baseline import Baseline
from bench.matrix.expand import expand
from bench.stats.regression_gate import gate

JOBS = expand(matrix(seeds=3))
CELLS = tuple({job.cell: job for job in JOBS}.values())


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    rows = bench.load(write_baseline(tmp_path_factory.mktemp("baseline") / "b.parquet"))
    return Baseline(Path("b.parquet"), rows, CELLS, ())


def fresh(score=level, bits="a") -> pd.DataFrame:
    return pd.concat([result(job, score(job), bits).row.table().to_pandas() for job in JOBS])


def test_the_numbers_are_those_of_the_gate(baseline: Baseline) -> None:
    rows = fresh(lower({"triplet": 0.03}, noise=0.01))
    (board,) = judge(baseline, rows, metric="recall_at_1", weight=0.3)
    sides = [one.pivot(index="cell", columns="seed", values="recall_at_1") for one in (baseline.rows, rows)]
    old, new = (side.loc[[job.cell for job in CELLS]].to_numpy(float) for side in sides)
    found = gate(old, new, shared=([0, 1, 2], [0, 1, 2]), weight=0.3)
    for name in ("verdict", "drop", "upper", "p", "seen"):
        assert [getattr(one, name) for one in board.verdicts] == getattr(found, name).tolist()
    assert [one.seeds for one in board.verdicts] == [(10, 3)] * 5


def test_means_are_over_the_seeds_of_the_drop(baseline: Baseline) -> None:
    for noise in (0.0005, 0.05):
        (board,) = judge(baseline, fresh(lower({}, noise=noise)), metric="recall_at_1")
        assert board.paired == (noise < 0.01)
        assert [one.baseline - one.fresh for one in board.verdicts] == pytest.approx([o.drop for o in board.verdicts])


@pytest.mark.parametrize(
    ("column", "seed", "value", "verdict"),
    [
        ("embeddings_sha", 1, "other", "same order"),
        ("embeddings_sha", 1, None, "same order"),
        ("first_hits_sha", 1, "other", None),
        ("first_hits_sha", 2, None, None),
        ("recall_at_1", 0, 0.123, None),
    ],
)
def test_one_seed_that_differs_is_a_change(baseline: Baseline, column, seed, value, verdict) -> None:
    rows = fresh()
    rows[column] = rows[column].where(~(rows["objective"].eq("triplet") & rows["seed"].eq(seed)), value)
    (board,) = judge(baseline, rows, metric="recall_at_1")
    assert [one.verdict for one in board.methods[1:]] == ["same bits"] * 3
    assert (board.methods[0].verdict == verdict) == (verdict is not None)
    assert board.mean.verdict != "same bits"


def test_no_seed_in_common_is_never_the_same(baseline: Baseline) -> None:
    (board,) = judge(baseline, fresh().assign(seed=lambda rows: rows["seed"] + 10), metric="recall_at_1")
    assert "same bits" not in {one.verdict for one in board.verdicts}


def test_a_diverged_run_fails_though_another_seed_is_fine(baseline: Baseline) -> None:
    rows = fresh(lower({}, noise=0.0005))
    bad = rows["objective"].eq("triplet") & rows["seed"].eq(2)
    rows = rows.assign(status=rows["status"].where(~bad, "diverged"), reason="the loss was not finite")
    rows["recall_at_1"] = rows["recall_at_1"].where(~bad, np.nan)
    boards = judge(baseline, rows, metric="recall_at_1")
    assert boards[0].methods[0].verdict == "failed"
    assert boards[0].methods[0].reason == "seed 2 diverged: the loss was not finite"
    assert settled(boards)


def test_one_method_has_no_mean_of_all(baseline: Baseline) -> None:
    (board,) = judge(baseline._replace(jobs=CELLS[:1]), fresh(), metric="recall_at_1")
    assert [one.label for one in board.verdicts] == ["triplet"]
