"""From trained runs to rates: many checks are drawn out of them, each decided as `bench check` decides."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from perf.faults import CLEAN, FAULTS, ONE_ULP, UNNORMALISED
from scipy.stats import binomtest

from bench.analysis.regression import Checked
from bench.analysis.regression_baseline import Baseline, comparable
from bench.execute.regression_check import look_by_look
from bench.matrix.job import Job
from bench.report.markdown import markdown_table
from bench.report.tables import Cell, Table
from bench.stats.regression_gate import LOOKS, WORSE

__all__ = ["Sizes", "page"]

METRIC = "recall_at_1"
HEADS = ("what", "worse", "rate (95 %)", "at 1 seed", "at 3", "at 5", "worse most often")

Rows = Mapping[str, pd.DataFrame]
"""Condition -> its rows."""


class Sizes(NamedTuple):
    """How many seeds are trained, and how many checks are drawn."""

    baseline: int = 10
    pool: int = 20
    one_ulp: int = 10
    faulty: int = 10
    checks: int = 30


class Drawn(NamedTuple):
    """One check: seeds of the baseline, fresh seeds in the order of the looks, and the fresh rows."""

    baseline: Sequence[int]
    fresh: Sequence[int]
    rows: pd.DataFrame


def decided(drawn: Drawn, jobs: Sequence[Job], clean: pd.DataFrame) -> Checked:
    """The outcome of a check."""
    found = held_against(clean, drawn.baseline, jobs)
    looks = [look for look in LOOKS if look <= len(drawn.fresh)]
    looked = look_by_look(found, lambda seeds: of(drawn.rows, drawn.fresh[:seeds]), metric=METRIC, looks=looks)
    return Checked("", METRIC, looked.seeds, looked.boards, (), ())


def held_against(clean: pd.DataFrame, seeds: Sequence[int], jobs: Sequence[Job]) -> Baseline:
    data = {jobs[0].dataset.label: clean["dataset_sha"].iloc[0]}
    return comparable(of(clean, seeds), jobs, source=Path("baseline"), metric=METRIC, data=data)


def of(rows: pd.DataFrame, seeds: Sequence[int]) -> pd.DataFrame:
    return rows[rows["seed"].isin(seeds)]


def complete(rows: pd.DataFrame) -> list[int]:
    """Seeds of which every method that was trained has a row."""
    counts = rows.groupby("seed")["cell"].nunique()
    return [int(seed) for seed in counts[counts == counts.max()].index]


def other_seeds(rows: Rows, sizes: Sizes) -> Iterable[Drawn]:
    """Nothing changed: the fresh seeds are others than those of the baseline."""
    clean, draw = rows[CLEAN.label], np.random.default_rng(0)
    seeds = complete(clean)
    for _ in range(sizes.checks):
        order = [int(seed) for seed in draw.permutation(seeds)]
        yield Drawn(order[: sizes.baseline], order[sizes.baseline :][: LOOKS[-1]], clean)


def apart(rows: Rows, _sizes: Sizes) -> Iterable[Drawn]:
    """The same with 3 + 3 seeds, no run in two checks."""
    clean = rows[CLEAN.label]
    seeds = complete(clean)
    for start in range(0, len(seeds) - 5, 6):
        yield Drawn(seeds[start : start + 3], seeds[start + 3 : start + 6], clean)


def same_seeds(label: str) -> Callable[[Rows, Sizes], Iterable[Drawn]]:
    """The baseline's own seeds, trained under a condition; what it does not touch has the rows of the baseline."""

    def draws(rows: Rows, sizes: Sizes) -> Iterable[Drawn]:
        clean, draw = rows[CLEAN.label], np.random.default_rng(1)
        changed = rows[label]
        fresh = pd.concat([changed, clean[~clean["cell"].isin(changed["cell"])]])
        known = complete(clean)
        seeds = [seed for seed in complete(fresh) if seed in known]
        for _ in range(sizes.checks):
            order = [int(seed) for seed in draw.permutation(seeds)]
            others = [int(seed) for seed in draw.permutation(known) if seed not in order[: LOOKS[-1]]]
            baseline = [*order[: LOOKS[-1]], *others][: sizes.baseline]
            yield Drawn(baseline, order[: LOOKS[-1]], fresh)

    return draws


CASES = {
    "nothing changed, other seeds": other_seeds,
    "nothing changed, other seeds, 3 + 3 at half the allowed error, no run in two checks": apart,
    "nothing but one ulp changed, same seeds": same_seeds(ONE_ULP.label),
    **{one.label: same_seeds(one.label) for one in (*FAULTS, UNNORMALISED)},
}
"""What is counted -> the checks that are drawn for it."""


def line(label: str, outcomes: Sequence[Checked]) -> tuple[Cell, ...]:
    """How often the outcome was "worse", with the exact interval of that rate, and at which look."""
    bad = [one for one in outcomes if one.regressed]
    low, high = binomtest(len(bad), len(outcomes)).proportion_ci(method="exact")
    at = Counter(one.seeds for one in bad)
    named = Counter(verdict.label for one in bad for verdict in one.verdicts if verdict.verdict in (WORSE, "failed"))
    words = [f"{name} {count}" for name, count in named.most_common(3)]
    rate = f"{100 * len(bad) / len(outcomes):.0f} % ({100 * low:.1f} to {100 * high:.1f})"
    cells = (label, f"{len(bad)} of {len(outcomes)}", rate, *(str(at[look]) for look in LOOKS), ", ".join(words))
    return tuple(map(Cell, cells))


def closeness(rows: Rows, jobs: Sequence[Job]) -> str:
    """How far one ulp moves a score, and how closely a seed follows itself, over all methods."""
    index = ["cell", "objective", "seed"]
    sides = [rows[one.label].set_index(index)[METRIC].rename(one.label) for one in (CLEAN, ONE_ULP)]
    both = pd.concat(sides, axis=1, join="inner").astype(float).dropna()
    moved = both[ONE_ULP.label] - both[CLEAN.label]
    within = both - both.groupby("cell").transform("mean")
    kappa = within.corr().iloc[0, 1] if len(both) > len(jobs) else np.nan
    spread = float(np.sqrt(both[CLEAN.label].groupby("cell").var().mean()))
    said = f"correlation of a seed with itself {kappa:.2f}" if np.isfinite(kappa) else "too few seeds for a correlation"
    return (
        f"One ulp in one initial weight moves Recall@1 by {100 * moved.std():.1f} points (sd over {len(both)} runs; "
        f"another seed: {100 * spread * 2**0.5:.1f}); {said}."
    )


def page(rows: Rows, jobs: Sequence[Job], sizes: Sizes, *, command: str) -> str:
    """Markdown: rates of false alarms and of faults found."""
    firsts = list({job.cell: job for job in jobs}.values())
    counted = {label: len(complete(rows[label])) for label in (CLEAN.label, ONE_ULP.label)}
    lines = []
    for label, draws in CASES.items():
        outcomes = [decided(one, firsts, rows[CLEAN.label]) for one in draws(rows, sizes) if len(one.fresh) > 1]
        lines += [line(label, outcomes)] if outcomes else []
    faulty = [len(complete(rows[one.label])) for one in (*FAULTS, UNNORMALISED)]
    machine = rows[CLEAN.label]["device"].mode().iloc[0]
    parts = [
        "# How often the regression check is right",
        f"Made by `{command}` from trained runs of {len(firsts)} methods: {counted[CLEAN.label]} seeds as they are, "
        f"{counted[ONE_ULP.label]} with one initial weight changed by one ulp, and {min(faulty)} or more with each "
        f"fault. Trained on {machine}, torch {rows[CLEAN.label]['torch'].mode().iloc[0]}.",
        f"A check is drawn out of these runs and decided as `bench check` does it: a baseline of {sizes.baseline} "
        "seeds, and looks at 1, 3 and 5 fresh ones. Checks of one line share runs, so its interval (Clopper-Pearson, "
        "as if they did not) is too narrow; only where it says so no run is in two checks. The faults are held against "
        "the same seeds, as they would be in CI. A fault that is not found is not shown to be harmless.",
        markdown_table(Table(HEADS, tuple(lines), texts=1)),
        closeness(rows, firsts),
    ]
    return "\n\n".join(parts) + "\n"
