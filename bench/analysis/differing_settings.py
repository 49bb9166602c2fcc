"""Recipes and parameters as text: what is usual, and in what a line differs from another."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd

from bench.matrix.job import PLUGIN, Job, Part
from bench.matrix.recipe import complete

__all__ = ["UNUSED", "differing_fields", "flat", "recipe_fields", "settings", "told_apart", "usual"]


def flat(value: Any, *, prefix: str = "") -> dict[str, str]:
    """Nested tables as {"augment.flip": "true"}."""
    if isinstance(value, dict):
        return {
            name: text for key, part in value.items() for name, text in flat(part, prefix=f"{prefix}.{key}").items()
        }
    return {prefix.strip("."): value if isinstance(value, str) else json.dumps(value)}


@cache
def recipe_fields(recipe: str) -> Mapping[str, str]:
    """Every field of a recipe (JSON) as text; many rows share one."""
    return flat(json.loads(recipe))


UNUSED = flat(complete({}))
"""Newer fields of the recipe at what was done without them, which no one needs to read."""


def usual(recipes: "pd.Series[str]") -> dict[str, str]:
    """The fields of the most common recipe (JSON); of equally common ones, the first in order of its text."""
    counts = recipes.value_counts()
    return dict(recipe_fields(min(counts[counts == counts.max()].index))) if len(counts) else {}


def differing_fields(own: Mapping[str, str], other: Mapping[str, str]) -> str:
    """The fields of `own` that differ from `other`, as "epochs=0, flip=true"."""
    names = [name for name in dict.fromkeys((*own, *other)) if own.get(name) != other.get(name)]
    return ", ".join(f"{name}={own.get(name, 'unset')}" for name in names)


def settings(job: Job) -> dict[str, str]:
    """Every parameter of a job's objective and of its members, and the recipes of members of their own."""
    fused = {f"{i}.{m.objective.label}": m.recipe.model_dump(mode="json") for i, m in enumerate(job.members)}
    return {"kind": job.kind} | part_settings(job.objective) | flat(fused)


def part_settings(part: Part) -> dict[str, str]:
    """Every parameter of a part and of its members."""
    files = {what: sha[:12] if what == PLUGIN else sha for what, sha in part.contents.items()}
    own = {"name": part.name, **flat(part.parameters), **files}
    inside = {f"{i}.{member.label}": part_settings(member) for i, member in enumerate(part.members)}
    return own | flat(inside)


def told_apart(found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """For things that share a label, by id, the settings in which each differs from the others; else its id."""
    names = dict.fromkeys(name for own in found.values() for name in own)
    apart = [name for name in names if len({own.get(name) for own in found.values()}) > 1]
    texts = {key: ", ".join(f"{name}={own.get(name, 'unset')}" for name in apart) for key, own in found.items()}
    shared = [text for text in texts.values() if list(texts.values()).count(text) > 1]
    return {key: text if text not in shared else f"cell {key[-12:]}" for key, text in texts.items()}
