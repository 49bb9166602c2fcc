"""Random damage to checkpoints: the job continues with the same bits, or says that it starts from its beginning."""

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from support.fuzz_results import damaged
from support.jobs import go, tiny
from support.one_sentence import refused

from bench.store.checkpoints import CHECKPOINT

__all__ = ["trial"]

(JOB,) = tiny(recipe={"validation": {"folds": 2}, "select": "validation", "classes_per_batch": 4})
NAME = f"{CHECKPOINT}{JOB.key}"
LOOKS = 4
"""After which it is stopped: in the middle of an epoch."""


def trial(draws: np.random.Generator, place: Path) -> str:
    """Damage the checkpoint of a job, or not, and continue it; what came of it, in a word."""
    from bench.job.watch import Terms

    content, bits = _stopped()
    file, said = place / NAME, list[str]()
    file.write_bytes(content)
    change = draws.integers(5)
    if change:
        file.write_bytes(_without_a_part(draws, file) if change == 1 else damaged(draws, file))
    result = go(JOB, place, terms=Terms(remark=said.append))
    assert (result.row.status, result.row.embeddings_sha) == ("done", bits)
    assert result.row.resumed == (0 if said else 1)
    return refused(ValueError(said[0])) if said else "read"


@cache
def _stopped() -> tuple[bytes, str | None]:
    """A checkpoint from within an epoch, and the SHA-256 of what the job ends with if nothing stops it."""
    from bench.job.watch import Stopped, Terms

    with TemporaryDirectory() as folder:
        looks = iter(range(LOOKS))
        try:
            go(JOB, Path(folder), terms=Terms(every=1e9, stop=lambda: next(looks, None) is None))
        except Stopped:
            content = Path(folder, NAME).read_bytes()
        return content, go(JOB, Path(folder, "calm")).row.embeddings_sha


def _without_a_part(draws: np.random.Generator, file: Path) -> bytes:
    """The same checkpoint as a version of the harness would write it that keeps less, so with the right checksum."""
    from safetensors import safe_open

    from bench.job.checkpoint import load, save

    with safe_open(file, "pt") as opened:
        identity = json.loads(opened.metadata()["lossbench"])
    state: dict[str, Any] = load(file, {name: identity[name] for name in ("key", "data")})
    part = state["begun"] if draws.integers(2) else state
    del part[sorted(part)[int(draws.integers(len(part)))]]
    save(file, state, {name: identity[name] for name in ("key", "data")})
    return file.read_bytes()
