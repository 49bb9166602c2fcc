"""What a row of the leaderboard opens to: its seeds, its recipe, its cost, where it was made, and how to make it again.

Only what the rows hold is said; where runs of one line differ, every value is.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from bench.analysis.board_lines import Line
from bench.report.rerun import rerun
from bench.report.tables import duration, percent
from bench.scoring.names import metric_name

__all__ = ["RowDetails", "row_details"]

VERSIONS = {"python": "Python", "torch": "torch", "timm": "timm", "pytorch_metric_learning": "pytorch-metric-learning"}


class RowDetails(NamedTuple):
    """Of one line of a board, all as text."""

    facts: tuple[tuple[str, str], ...]
    """Name and value."""
    seeds: tuple[tuple[str, tuple[str, ...]], ...]
    """Every seed with its score under each of `metrics`, in percent; empty where it has none."""
    metrics: tuple[str, ...]
    """As readers know them."""
    matrix: str
    """TOML that asks for the line again; "" where the rows do not know it."""


def row_details(line: Line, metrics: Iterable[str]) -> RowDetails:
    """What is known of a line of a board with these metrics."""
    own = [name for name in metrics if name in line.values]
    columns = [[_score(value) for value in line.values[name]] for name in own]
    facts = (
        ("Recipe", f"unlike most rows here: {line.variant}" if line.variant else "as most rows here"),
        ("Members", ", ".join(line.members)),
        ("Cost of one seed", _cost(line)),
        ("Made on", _made(line)),
        ("Versions", "; ".join(_versions(line))),
        ("Commit", ", ".join(_commits(line))),
        ("Seeds added", ", ".join(_texts(line, "stopping"))),
        ("Cell", line.cell),
    )
    return RowDetails(
        tuple((name, value) for name, value in facts if value),
        tuple(zip(map(str, line.ran), zip(*columns, strict=True), strict=True)) if own else (),
        tuple(metric_name(name) for name in own),
        rerun(line),
    )


def _score(value: float) -> str:
    return "" if np.isnan(value) else percent(float(value), np.nan)


def _numbers(line: Line, column: str) -> list[float]:
    """Of the runs that know it."""
    return [float(value) for value in line.made[column] if value is not None and not np.isnan(float(value))]


def _texts(line: Line, column: str) -> list[str]:
    """The values of the runs, each once, in order."""
    return sorted({value for value in line.made[column] if isinstance(value, str) and value})


def _mean(line: Line, column: str) -> float:
    found = _numbers(line, column)
    return float(np.mean(found)) if found else float("nan")


def _cost(line: Line) -> str:
    whole, train, evaluate = (_mean(line, name) for name in ("seconds", "seconds_train", "seconds_evaluate"))
    times = [("", whole), ("to train", train), ("to evaluate", evaluate)]
    said = [f"{duration(seconds)} {what}".strip() for what, seconds in times if not np.isnan(seconds)]
    rate, memory, count = (_mean(line, name) for name in ("images_per_second", "peak_memory_mb", "parameters"))
    known = [
        ", ".join(said),
        "" if np.isnan(rate) else f"{rate:,.0f} images per second",
        "" if np.isnan(memory) else f"{_memory(memory)} of memory at its peak",
        "" if np.isnan(count) else f"{count:,.0f} parameters, trained and frozen",
    ]
    return "; ".join(filter(None, known))


def _memory(megabytes: float) -> str:
    return f"{megabytes:,.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def _made(line: Line) -> str:
    """The devices, threads and days."""
    threads = sorted({int(count) for count in _numbers(line, "threads")})
    days = sorted({text[:10] for text in _texts(line, "started")})
    counts = " or ".join(map(str, threads))
    return "; ".join(
        filter(
            None,
            (
                ", ".join(_texts(line, "device")),
                f"{counts} thread{'' if threads == [1] else 's'}" if threads else "",
                f"{days[0]} to {days[-1]}" if len(days) > 1 else "".join(days),
            ),
        )
    )


def _versions(line: Line) -> list[str]:
    return [f"{name} {', '.join(found)}" for column, name in VERSIONS.items() if (found := _texts(line, column))]


def _commits(line: Line) -> list[str]:
    known = {
        (commit[:10], str(dirty) == "True")  # a bool of numpy or of Python, or nothing
        for commit, dirty in zip(line.made["commit"], line.made["dirty"], strict=True)
        if isinstance(commit, str) and commit
    }
    return [commit + " with uncommitted changes" * dirty for commit, dirty in sorted(known)]
