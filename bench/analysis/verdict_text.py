"""Comparisons in words: one pair, a whole board, several datasets, a look at the seeds so far. Points are x 100."""

import math
from collections.abc import Sequence

import numpy as np

from bench.analysis.board_comparison import BoardComparison, Comparison, Range, Standing, leaders
from bench.stats.across_datasets import FEWEST_FOR_RANKS, AcrossDataSets
from bench.stats.difference import pairs
from bench.stats.power import MOST_SEEDS
from bench.stats.sequential import LeadersLook, OrderLook

__all__ = [
    "across_in_words",
    "board_in_words",
    "look_in_words",
    "order_look_in_words",
    "pair_in_words",
    "points",
    "probability",
    "time",
]


CLASSES_HIDE = "On new classes no number of seeds settles it: the choice of classes hides so small a gap."
MOST_NAMES = 10


def pair_in_words(found: Comparison) -> str:
    """What is known about one pair, in a few sentences; a range of points is a 95 % interval."""
    if 1 in found.seeds and not found.shared and not math.isnan(found.difference):
        return _one_seed(found)
    if math.isnan(found.p):
        return f"{_gap(found)}: no verdict, because {found.reason}."
    parts = [_separated(found) if found.separated else _tied(found), _borrowed(found)]
    return " ".join(part for part in parts if part)


def _gap(found: Comparison) -> str:
    if math.isnan(found.difference):
        return f"{found.a} and {found.b} cannot be compared"
    if found.difference == 0:
        return f"{found.a} and {found.b} score the same"
    ahead, behind = (found.a, found.b) if found.difference > 0 else (found.b, found.a)
    return f"{ahead} is {points(abs(found.difference))} points ahead of {behind}"


def _one_seed(found: Comparison) -> str:
    new = found.new.models
    models = f"These two trained models differ by {_span(new)} points on new classes ({found.a} less {found.b})"
    here = f"These trained models differ by {points(found.difference)} points ({found.a} less {found.b})"
    said = f"{here if math.isnan(new.low) else models}; this says nothing about the methods ({found.reason})."
    if math.isnan(found.interval.low):
        return said
    span = _span(found.interval)
    return f"{said} With the variance of the other {found.lenders} methods, new seeds would differ by {span} points."


def _separated(found: Comparison) -> str:
    turn = found.difference < 0
    ahead, behind = (found.b, found.a) if turn else (found.a, found.b)
    seeds, new = (_turn(span, turn) for span in (found.interval, found.new.interval))
    first = (
        f"{ahead} is better than {behind} by {points(abs(found.difference))} points on these test classes "
        f"({_span(seeds)} over seeds; {_holm(found)})."
    )
    if found.new.reason:
        return f"{first} Nothing is known about new classes: {found.new.reason}."
    crosses = new.low <= 0
    return f"{first} On new classes {_span(new)}{': this holds for these classes only' if crosses else ''}."


def _tied(found: Comparison) -> str:
    first = (
        f"{found.a} and {found.b} cannot be told apart on these test classes: {_difference(found)}; {_holm(found)})."
    )
    needed = f"telling them apart takes {_needed(found.needed)}"
    second = f"A difference of {points(found.detectable)} points would be seen three times in four; {needed}."
    if found.new.exceed:
        return f"{first} {second} {CLASSES_HIDE}"
    return f"{first} {second}"


def _difference(found: Comparison) -> str:
    turn = found.difference < 0
    return f"{_gap(found)} ({_span(_turn(found.interval, turn))} over seeds"


def _needed(found: Range) -> str:
    most = f"more than {MOST_SEEDS}"
    low, high = (most if math.isinf(number) else f"{number:.0f}" for number in found)
    return f"{low} seeds each" if low == high else f"between {low} and {high} seeds each"


def _borrowed(found: Comparison) -> str:
    """Two seeds say little about a variance: said wherever a side has no more."""
    if found.shared or min(found.seeds) > 2:
        return ""
    return f"The variance is mostly borrowed from the other {found.lenders} methods." if found.lenders else ""


def _holm(found: Comparison) -> str:
    p = probability(found.p)
    return f"p {p}" if found.pairs == 1 else f"Holm over {found.pairs} pairs p {p}"


def board_in_words(found: BoardComparison, places: Sequence[Standing]) -> str:
    """The verdict of a whole board in one sentence; `places` are its `standings`."""
    ranked = [place for place in places if place.ranks]
    if not ranked:
        return "Nothing can be said about the methods: fewer than two of them have the seeds for it; run a second seed."
    ahead = leaders(found)
    leading, group = [places[at] for at in ahead], frozenset(ahead)
    others = [place for at, place in enumerate(places) if place.ranks and place.leads and at not in group]
    over = f"Holm over {found.family} pairs" if found.family > 1 else "one pair"
    without = _not_ranked(len(places) - len(ranked)) + _undecided(sorted(others, key=lambda place: -place.mean))
    if not found.better.any():
        return f"None of {len(ranked)} methods can be told apart from another ({over}){without}."
    names = _names([place.label for place in leading])
    if len(leading) > 1:
        return f"{len(leading)} methods lead and cannot be told apart: {names} ({over}){without}."
    only = leading[0]
    alone = only.ranks is not None and only.ranks[1] == 1
    how = "is better than every other" if alone else "leads: every other is behind one that is better"
    return f"{names} {how} ({over}){without}."


def _not_ranked(count: int) -> str:
    return f"; {count} more {'has' if count == 1 else 'have'} too few seeds for a verdict" if count else ""


def _undecided(places: Sequence[Standing]) -> str:
    """Floors that no verdict puts behind the leaders: said apart, because no one would call them leaders."""
    names = _names([place.label for place in places])
    verb = "has" if len(places) == 1 else "have"
    return f"; without training, {names} {verb} too few seeds to be told apart from them" if places else ""


def _names(labels: Sequence[str]) -> str:
    more = len(labels) - MOST_NAMES
    return ", ".join(labels) if more <= 0 else f"{', '.join(labels[:MOST_NAMES])} and {more} more"


def across_in_words(found: AcrossDataSets, a: str, b: str) -> str:
    """One pair over several datasets."""
    count = found.better + found.tied + found.worse
    tally = f"better on {found.better}, tied on {found.tied}, worse on {found.worse}"
    here = Range(*(float(found.here.mean + side * found.here.half_width()) for side in (-1, 1)))
    mean = f"the mean difference over these datasets is {points(float(found.here.mean))} points"
    said = f"{a} against {b} on {count} datasets: {tally}; {mean}"
    known = found.here.reason.item()
    said = f"{said} (no interval: {known})." if known else f"{said} ({_span(here)} over seeds)."
    new = Range(found.new.mean - found.new.half_width, found.new.mean + found.new.half_width)
    if not math.isnan(new.low):
        said = f"{said} As a claim about new datasets: {_span(new)}."
    few = count < FEWEST_FOR_RANKS
    return f"{said} No test by ranks or signs can reach .05 on fewer than {FEWEST_FOR_RANKS}." if few else said


def look_in_words(look: LeadersLook, labels: Sequence[str]) -> list[str]:
    """What the leaders rule decided at one look of one board: who drops out and why, who needs no more seeds."""
    said = [
        f"{labels[one]} drops out at {look.seeds} seeds: {labels[int(look.rival[one])]} is better "
        f"(one-sided p {probability(float(look.p[one]))}, limit {look.limit:.2g})."
        for one in np.flatnonzero(look.dropped).tolist()
    ]
    still = np.flatnonzero(look.leading).tolist()
    settled = [labels[one] for one in still if not look.running[one]]
    said.append(f"Still in at {look.seeds} seeds: {', '.join(labels[one] for one in still)}.")
    if settled and look.running.any():
        said.append(
            f"No more seeds for {', '.join(settled)}: no comparison with others still in can be decided any more."
        )
    return said


def order_look_in_words(look: OrderLook, labels: Sequence[str]) -> list[str]:
    """What the order rule decided at one look of one board: how many pairs, who has a place, who gets more seeds."""
    first, second = pairs(len(labels))
    tested = np.flatnonzero(np.isfinite(look.q))
    known = np.zeros(len(labels), bool)
    known[first[tested]] = known[second[tested]] = True
    apart = look.better | look.better.T | ~known | np.eye(len(labels), dtype=bool)
    placed = known & ~look.running & apart.all(axis=1)
    stopped = known & ~look.running & ~placed
    groups = (
        (placed, "{} told apart from every other", "is", "are"),
        (look.running, "{} not told apart from every other yet, and more seeds can help", "is", "are"),
        (stopped & look.running.any(), "No more seeds for {}: no pair of theirs can be decided any more", "", ""),
    )
    said = [f"{int(look.better.sum())} of {len(tested)} pairs are told apart at {look.seeds} seeds."]
    for flags, text, one, several in groups:
        if names := [label for label, flag in zip(labels, flags, strict=True) if flag]:
            verb = f" {one if len(names) == 1 else several}" if one else ""
            said.append(f"{text.format(', '.join(names) + verb)}.")
    return said


def points(value: float) -> str:
    """A score or difference in [-1, 1] as points, such as "−2.1"; never "−0.0"."""
    text = f"{100 * value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def time(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best: "0.4 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5940 else f"{seconds / 3600:.1f} h"


def probability(p: float) -> str:
    """A p value with its sign, such as "= .003" or "< .001"."""
    if p < 0.001:
        return "< .001"
    close = p < 0.0095 or 0.045 <= p < 0.055  # whether p is below .05 must be seen
    text = f"{p:.3f}" if close else f"{p:.2f}"
    return f"= {text.lstrip('0')}" if p < 0.995 else "= 1"


def _span(found: Range) -> str:
    return f"{points(found.low)} to {points(found.high)}"


def _turn(found: Range, turn: bool) -> Range:
    return Range(-found.high, -found.low) if turn else found
