"""One look at the seeds of a board so far: what the rule decides, who gets more seeds, and why, in sentences."""

from collections.abc import Sequence

import numpy as np

from bench.analysis.stopping import Decision, Until
from bench.analysis.verdict_text import look_in_words, order_look_in_words
from bench.stats.estimate import Numbers
from bench.stats.ranks import Flags
from bench.stats.sequential import LOOKS, LeadersLook, OrderLook, leaders, order

__all__ = ["decide"]


def decide(scores: Numbers, labels: Sequence[str], until: Until, *, shared: Flags) -> Decision:
    """The decision that `scores` [methods, seeds] allow, by replaying the rule from its first look.

    Args:
        scores: all seeds up to this look; NaN for one without a score, or that its method was not given.
        labels: of the methods.
        until: the rule.
        shared: [methods, methods], pairs that share trained models.
    """
    seeds = scores.shape[1]
    scored = _of(labels, np.asarray(np.isfinite(scores).any(axis=1)))
    if len(scored) < 2:
        few = f"Fewer than two methods have a score {until.metric!r} at {seeds} seeds: nothing to decide."
        return Decision(seeds, scored, (), (few,))
    out = [label for label in labels if label not in scored] if seeds == LOOKS[0] else []
    said = [f"Out: {', '.join(out)}, without a score at {seeds} seeds."] if out else []
    if until.rule == "leaders":
        *_, look = leaders(scores, most=until.most, alpha=until.alpha, shared=shared)
        said += [*look_in_words(look, labels), *_leaders_end(look, labels, until)]
        return Decision(seeds, _of(labels, look.leading), _of(labels, look.running), tuple(said))
    *_, last = order(scores, most=until.most, alpha=until.alpha, shared=shared)
    said += [*order_look_in_words(last, labels), *_order_end(last, until)]
    unbeaten = np.asarray(np.isfinite(scores).any(axis=1) & ~last.better.any(axis=0))
    return Decision(seeds, _of(labels, unbeaten), _of(labels, last.running), tuple(said))


def _of(labels: Sequence[str], flags: Flags) -> tuple[str, ...]:
    return tuple(label for label, flag in zip(labels, flags, strict=True) if flag)


def _leaders_end(look: LeadersLook, labels: Sequence[str], until: Until) -> list[str]:
    if look.running.any():
        return []
    ahead = _of(labels, look.leading)
    return [f"Decided: {ahead[0]} leads."] if len(ahead) == 1 else [_undecided("their differences", look.seeds, until)]


def _order_end(look: OrderLook, until: Until) -> list[str]:
    if look.running.any():
        return []
    left = int(np.isfinite(look.q).sum() - look.better.sum())
    return [_undecided("the other pairs", look.seeds, until)] if left else ["Decided: the whole order."]


def _undecided(what: str, seeds: int, until: Until) -> str:
    if seeds == until.most:
        return f"Ended: {seeds} seeds are the most, and {what} are not decided."
    return f"Ended: {what} are too small to be decided with at most {until.most} seeds."
