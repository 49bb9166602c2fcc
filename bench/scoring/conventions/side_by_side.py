"""Scores of several conventions side by side: a table, what each convention does, and why they differ."""

import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from tabulate import tabulate

from bench.scoring.conventions.rescore import Cause, EmbeddedImages, Scorer, causes
from bench.scoring.conventions.rules import SENTENCES, Convention, Rules
from bench.scoring.names import NONE, metric_name

__all__ = ["ConventionScores", "Gap", "SideBySide", "side_by_side", "text", "values"]

SEEN = 5e-5
"""Scores further apart than this read differently in percent with two decimals."""
WIDTH = 100
COUNTS = {"queries": "Queries", "queries_left_out": "Left out"}


class ConventionScores(NamedTuple):
    """One convention, the rules it follows here, and its scores."""

    name: str
    convention: Convention
    rules: Rules
    scores: dict[str, float]


class Gap(NamedTuple):
    """A score that a convention sees differently from the first."""

    metric: str
    name: str
    difference: float
    causes: list[Cause]


class SideBySide(NamedTuple):
    """Columns, of which the first is what the others are held against, and where they differ from it."""

    columns: list[ConventionScores]
    gaps: list[Gap]


def side_by_side(chosen: Mapping[str, tuple[Convention, Rules]], score: Scorer) -> SideBySide:
    """Score by every convention; gaps are in the order of the scores, and only those that show in percent."""
    columns = [
        ConventionScores(name, one, rules, _reported(one, score(rules))) for name, (one, rules) in chosen.items()
    ]
    base, *others = columns
    return SideBySide(
        columns, [gap for metric in base.scores for other in others for gap in _gap(metric, base, other, score)]
    )


def _reported(convention: Convention, scores: dict[str, float]) -> dict[str, float]:
    return {n: v if n in COUNTS or re.fullmatch(convention.reports, n) else math.nan for n, v in scores.items()}


def _gap(metric: str, base: ConventionScores, other: ConventionScores, score: Scorer) -> list[Gap]:
    """The difference in one metric, if it shows."""
    difference = other.scores[metric] - base.scores[metric]
    if metric in COUNTS or not abs(difference) >= SEEN:
        return []
    return [Gap(metric, other.name, difference, causes(metric, base.rules, other.rules, score))]


def _sentences(rules: Rules) -> list[str]:
    """What the rules are: the distance, and whatever is different from this harness; of this harness, what matters."""
    own, given = Rules(), rules._asdict()
    shown = [name for name, ours in own._asdict().items() if name != "distance" and given[name] != ours]
    return [_sentence(name, given[name]) for name in ("distance", *(shown or ("own", "lone", "ties", "clusters")))]


def _sentence(rule: str, value: Any) -> str:
    return SENTENCES[rule, 0 if isinstance(value, int) else value]


def values(images: EmbeddedImages, table: SideBySide) -> dict[str, Any]:
    """As JSON values: scores in [0, 1], null where there is none; effects in the same unit."""
    return {
        "queries": len(images.labels),
        "gallery": None if images.gallery is None else len(images.gallery),
        "conventions": [
            {
                "name": column.name,
                "source": column.convention.source,
                "distance": column.rules.distance,
                "rules": _sentences(column.rules),
                "scores": {name: None if math.isnan(value) else value for name, value in column.scores.items()},
            }
            for column in table.columns
        ],
        "differences": [
            {**gap._asdict(), "against": table.columns[0].name, "causes": [cause._asdict() for cause in gap.causes]}
            for gap in table.gaps
        ],
    }


def text(images: EmbeddedImages, table: SideBySide) -> str:
    """For a terminal: what was scored, the scores in percent, the conventions, and why they differ."""
    against = "the others" if images.gallery is None else f"a gallery of {len(images.gallery):,}"
    facts = f"{len(images.labels):,} queries against {against}, {images.points.shape[1]} dimensions; scores in percent"
    names = [f"{one.name}: {one.convention.source}. It {'; '.join(_sentences(one.rules))}." for one in table.columns]
    parts = [facts, _grid(table.columns), *(textwrap.fill(name, WIDTH, subsequent_indent="  ") for name in names)]
    if table.gaps:
        parts.append(f"Why they differ from {table.columns[0].name}, in points (what a rule does alone in brackets):")
        parts.append("\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in _reasons(table.gaps)))
    return "\n\n".join(parts)


def _grid(columns: list[ConventionScores]) -> str:
    def cell(name: str, value: float) -> str:
        if math.isnan(value):
            return NONE
        return f"{value:,.0f}" if name in COUNTS else f"{100 * value:.2f}".replace("-", "−")

    rows = [[COUNTS.get(n) or metric_name(n), *(cell(n, one.scores[n]) for one in columns)] for n in columns[0].scores]
    heads = ["", *(one.name for one in columns)]
    return tabulate(rows, heads, colalign=["left", *["right"] * len(columns)], disable_numparse=True)


def _reasons(gaps: list[Gap]) -> list[str]:
    """A line a metric and reason, with all conventions that share it."""
    lines: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        lines.setdefault((metric_name(gap.metric), f"{_points(gap.difference)}: {_why(gap)}"), []).append(gap.name)
    return [f"  {metric}, {', '.join(names)} {reason}" for (metric, reason), names in lines.items()]


def _why(gap: Gap) -> str:
    if not gap.causes:
        return "its rules change nothing one at a time, only together"
    if len(gap.causes) == 1 and math.isclose(gap.causes[0].effect, gap.difference, abs_tol=1e-9):
        return gap.causes[0].sentence
    return "; ".join(f"{cause.sentence} ({_points(cause.effect)})" for cause in gap.causes)


def _points(share: float) -> str:
    return f"{100 * share:+.2f}".replace("-", "−")
