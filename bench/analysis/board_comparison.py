"""From the scores of one board to comparisons: every pair's difference, ranks, tie groups. Pure values, no wording.

The numbers are those of one dataset, one metric and one recipe: variances are never borrowed across these.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bench.analysis.differences import Differences, Method, check_methods, differences, summary
from bench.analysis.why_no_verdict import no_verdict
from bench.stats.class_variance import ClassPart, crossed, same_models
from bench.stats.difference import NEITHER_VARIES, Indices, Methods, mean, pairs
from bench.stats.estimate import Estimate, Numbers, Reasons
from bench.stats.power import classes_exceed, detectable, seeds_needed, superior
from bench.stats.ranks import Flags, holm, leading, letters, rank_sets, separated, tie_groups
from bench.stats.shrinkage import NEGLIGIBLE

__all__ = [
    "MOST_GROUPED",
    "BoardComparison",
    "Comparison",
    "Method",
    "NewClasses",
    "Range",
    "Standing",
    "compare",
    "leaders",
    "pair",
    "standings",
]

MOST_GROUPED = 300
"""Methods at most that get the letters of tie groups, and a leading group under every metric: with more, letters are
too many to read, and both take long to find."""
UNRANKED: tuple[tuple[int, int] | None, str, bool] = (None, "", False)


class Range(NamedTuple):
    """An interval; NaN where there is none."""

    low: float
    high: float


class NewClasses(NamedTuple):
    """What a comparison says about new test classes."""

    interval: Range
    """95 % over new seeds and new classes."""
    models: Range
    """95 % over new classes of the difference of these very trained models; says nothing about new seeds."""
    exceed: bool
    """The choice of classes alone hides the difference: no number of seeds settles it."""
    reason: str
    """Why there is no interval, in a sentence."""


class Comparison(NamedTuple):
    """A against B on one board; scores and differences in [-1, 1], not points."""

    a: str
    b: str
    difference: float
    """A less B."""
    seeds: tuple[int, int]
    interval: Range
    """95 % over new seeds, on these test classes."""
    p: float
    """Corrected by Holm over the board's pairs; NaN where no verdict may be given."""
    pairs: int
    """How many pairs Holm's correction is over."""
    separated: bool
    reason: str
    """Why there is no verdict, in a sentence."""
    new: NewClasses
    detectable: float
    """A true difference so large would be found three times in four, with these seeds and in this family of pairs."""
    needed: Range
    """Seeds of each that would separate this pair in this family of pairs; infinite for more than 60."""
    superior: tuple[float, Range]
    """P(a run of A beats a run of B) and its 95 % interval."""
    shared: bool
    """Compared seed by seed, because trained models are shared."""
    lenders: int
    """Other methods (or pairs that share models) whose variance is borrowed."""


class Standing(NamedTuple):
    """One method's place on its board."""

    label: str
    mean: float
    half_width: float
    """Of the 95 % interval over new seeds, its variance shrunk over the board."""
    own_sd: float
    """Sample sd over its own seeds: one much noisier than its board has too narrow an interval. NaN for one seed."""
    seeds: int
    ranks: tuple[int, int] | None
    """Best and worst rank that it may have; None for one seed."""
    letters: str
    """Of its tie groups; empty where it has no rank, or where more than MOST_GROUPED methods have one."""
    leads: bool
    reason: str
    """Why there is no interval, in a sentence."""


class BoardComparison(NamedTuple):
    """All pairs of one board, [P] in the order of `at`, and its m methods."""

    board: tuple[Method, ...]
    methods: Methods
    at: tuple[Indices, Indices]
    """The first and the second method of every pair."""
    apart: Differences
    p: Numbers
    """[P], corrected by Holm; NaN where no verdict may be given."""
    reason: Reasons
    """[P]: why not."""
    classes: Estimate
    """[P]: over new seeds and new classes."""
    better: Flags
    """[m, m]: row is separated from column and above it; of two floors that no seed moves, simply above it."""
    ranked: Flags
    """[m]: has a verdict against another, so that it can be ranked."""
    alpha: float

    @property
    def family(self) -> int:
        """How many pairs Holm's correction is over."""
        return int(np.isfinite(self.p).sum())


def compare(
    board: Sequence[Method],
    *,
    counts: ArrayLike | None = None,
    alpha: float = 0.05,
    only: tuple[Indices, Indices] | None = None,
) -> BoardComparison:
    """All comparisons of a board of two methods or more; `counts` [C] are the queries per test class.

    With `only`, the first (the lower place) and the second method of some pairs, the others just lend their variances.

    Raises ValueError where shapes do not fit or a label is used twice.
    """
    lines = tuple(board)
    check_methods(lines, counts)
    found, at = summary(lines), only or pairs(len(lines))
    apart = differences(lines, found, at=at, counts=counts)
    reason = no_verdict(lines, found, apart, at)
    p = holm(np.where(reason == "", apart.seeds.p_two_sided(), np.nan))
    ranked = np.zeros(len(lines), bool)
    ranked[np.concatenate([side[np.isfinite(p)] for side in at])] = True
    verdicts = np.where(_exact(lines, apart, at), 0.0, p)
    better = separated(verdicts, apart.seeds.mean, at=at, alpha=alpha)
    return BoardComparison(lines, found, at, apart, p, reason, crossed(apart.seeds, apart.part), better, ranked, alpha)


def _exact(lines: Sequence[Method], apart: Differences, at: tuple[Indices, Indices]) -> Flags:
    """[P]: pairs of floors that no seed moves; they are as far apart as they are, and need no test to be ranked."""
    outside = np.array([line.outside for line in lines], bool)
    return np.asarray(outside[at[0]] & outside[at[1]] & (apart.seeds.reason == NEITHER_VARIES))


def standings(found: BoardComparison) -> list[Standing]:
    """The methods of the board, in its order, with their intervals, rank sets and tie groups among the ranked ones."""
    each, places = mean(found.methods), np.flatnonzero(found.ranked)
    better = found.better[np.ix_(places, places)]
    best, worst = rank_sets(better)
    order = [int(one) for one in np.argsort(-each.mean[places], kind="stable")]
    groups = tie_groups(better, order=order) if len(places) <= MOST_GROUPED else []
    marks = letters(groups, len(places))
    leads = leading(better)
    ranks = {
        int(place): ((int(best[row]), int(worst[row])), marks[row], bool(leads[row]))
        for row, place in enumerate(places)
    }
    widths, own = each.half_width(), np.sqrt(found.methods.own)
    return [
        Standing(
            *(line.label, float(each.mean[at]), float(widths[at]), float(own[at]), int(found.methods.seeds[at])),
            *ranks.get(at, UNRANKED),
            str(each.reason[at]),
        )
        for at, line in enumerate(found.board)
    ]


def leaders(found: BoardComparison) -> list[int]:
    """The places of the leading group, best first: no other is better than these, and they cannot be told apart.

    Floors and lines without training are in it only where nothing else is: too few seeds leave them undecided.
    """
    places = np.flatnonzero(found.ranked)
    ahead = places[leading(found.better[np.ix_(places, places)])]
    trained = [int(place) for place in ahead if not found.board[place].outside]
    return sorted(trained or map(int, ahead), key=lambda place: -found.methods.mean[place])


def pair(found: BoardComparison, a: str, b: str) -> Comparison:
    """A against B, by their labels; swapped sides give the same numbers with the other sign.

    Raises ValueError for a label that the board does not have, or the same one twice.
    """
    labels = [line.label for line in found.board]
    if missing := [label for label in (a, b) if label not in labels]:
        raise ValueError(f"the board has no method {missing[0]}; it has {', '.join(labels)}.")
    if a == b:
        raise ValueError(f"{a} is compared with itself; name two methods.")
    one, other = labels.index(a), labels.index(b)
    place = int(np.flatnonzero((found.at[0] == min(one, other)) & (found.at[1] == max(one, other)))[0])
    straight = _comparison(found, place)
    return straight if straight.a == a else _swapped(straight)


def _comparison(found: BoardComparison, place: int) -> Comparison:
    """The pair at `place`, the one ahead against the other, so that no order of the board shows in any bit."""
    here = slice(place, place + 1)
    seeds, classes, spread = found.apart.seeds.at(here), found.classes.at(here), found.apart.spread[here]
    ends = [int(side[place]) for side in found.at]
    if seeds.mean[0] < 0:
        seeds, classes, ends = seeds._replace(mean=-seeds.mean), classes._replace(mean=-classes.mean), ends[::-1]
    counts = found.methods.seeds[ends].astype(int)
    alpha = found.alpha / max(1, found.family - int((found.p <= found.alpha).sum()))
    needed, runs = seeds_needed(seeds, spread, alpha=alpha), superior(seeds, spread)
    return Comparison(
        a=found.board[ends[0]].label,
        b=found.board[ends[1]].label,
        difference=float(seeds.mean[0]),
        seeds=(int(counts[0]), int(counts[1])),
        interval=_range(seeds),
        p=float(found.p[place]),
        pairs=found.family,
        separated=bool(found.p[place] <= found.alpha),
        reason=str(found.reason[place]),
        new=_new_classes(classes, found.apart.part.at(here), alpha),
        detectable=float(detectable(seeds, alpha=alpha)[0]),
        needed=Range(float(needed.low[0]), float(needed.high[0])),
        superior=(float(runs.probability[0]), Range(float(runs.low[0]), float(runs.high[0]))),
        shared=bool(found.apart.shared[place]),
        lenders=_lenders(found, place),
    )


def _new_classes(classes: Estimate, part: ClassPart, alpha: float) -> NewClasses:
    exceed = classes_exceed(classes, part, alpha=alpha)
    return NewClasses(_range(classes), _range(same_models(classes.mean, part)), bool(exceed[0]), str(classes.reason[0]))


def _range(found: Estimate) -> Range:
    """The interval of one estimate, [1]."""
    width = float(found.half_width()[0])
    return Range(float(found.mean[0]) - width, float(found.mean[0]) + width)


def _lenders(found: BoardComparison, place: int) -> int:
    if found.apart.shared[place]:
        return int((found.apart.shared & (found.apart.counts > 1)).sum()) - 1
    lends = (found.methods.own > NEGLIGIBLE) & ~np.array([line.outside for line in found.board])
    return int(lends.sum() - lends[found.at[0][place]] - lends[found.at[1][place]])


def _swapped(found: Comparison) -> Comparison:
    probability, runs = found.superior
    return found._replace(
        a=found.b,
        b=found.a,
        difference=-found.difference,
        seeds=found.seeds[::-1],
        interval=_turned(found.interval),
        new=found.new._replace(interval=_turned(found.new.interval), models=_turned(found.new.models)),
        superior=(1 - probability, Range(1 - runs.high, 1 - runs.low)),
    )


def _turned(found: Range) -> Range:
    return Range(-found.high, -found.low)
