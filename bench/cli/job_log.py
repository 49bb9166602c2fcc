"""What there is to read of one job: how it stands, its epochs, and where it failed."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.execute.status import Standing
    from bench.matrix.job import Job

__all__ = ["job_log", "the_job"]

NAMED = 5
"""Jobs that are named where several may be meant."""
FACTS = ("reason", "started", "seconds", "resumed", "device", "torch", "peak_memory_mb")
SCORES = ("recall_at_1", "map_at_r", "nmi")


def the_job(found: "Standing", key: str) -> "Job":
    """The job of a matrix with this key, or the only one whose key has this in it.

    Raises:
        ConfigError: there is none, or there are several.
    """
    from bench.matrix.job import ConfigError

    like = [job for job in found.jobs if job.key == key] or [job for job in found.jobs if key and key in job.key]
    if not like:
        raise ConfigError(f"--log {key}: no job of this matrix has such a key; bench status --json lists the keys")
    if len(like) > 1:
        more = f" and {len(like) - NAMED} more" if len(like) > NAMED else ""
        raise ConfigError(f"--log {key}: say which: {', '.join(job.key for job in like[:NAMED])}{more}")
    return like[0]


def job_log(found: "Standing", job: "Job", results: Path) -> Iterator[str]:
    """Lines about one job of a matrix."""
    from bench import store
    from bench.cli.job_name import name

    yield f"{name(job)}: {found.statuses[job.key]}"
    yield f"key {job.key}"
    home = results / job.key
    if found.statuses[job.key] not in ("new", "running"):
        row = store.load(home / "row.parquet").iloc[0]
        yield from _ended(row.reindex([*FACTS, *SCORES]).dropna().to_dict())
        yield from _epochs(store.history(results, keys={job.key}))
    if (trace := home / "error.txt").exists():
        yield ""
        yield trace.read_text(encoding="utf-8", errors="replace").rstrip()


def _ended(known: Mapping[Any, Any]) -> Iterator[str]:
    if known.get("reason"):
        yield f"why: {known['reason']}"
    if "seconds" in known:
        began = f"started {known['started']}, " if "started" in known else ""
        again = f", continued {known['resumed']:.0f} times" if known.get("resumed") else ""
        yield f"{began}took {known['seconds']:.1f} s{again}"
    if "device" in known:
        yield f"on {known['device']} with torch {known['torch']}"
    if "peak_memory_mb" in known:
        yield f"peak of memory: {known['peak_memory_mb']:.0f} MB"
    if scores := [f"{name} {known[name]:.4f}" for name in SCORES if name in known]:
        yield ", ".join(scores)


def _epochs(history: Any) -> Iterator[str]:
    from tabulate import tabulate

    columns = [name for name in ("model", "epoch", "loss", "rate", "seconds") if name in history]
    if len(history):
        yield ""
        yield tabulate(history[columns], headers="keys", showindex=False)
