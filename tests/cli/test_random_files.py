"""A few random files of users: read as they were meant, or refused. tests/perf/fuzz.py draws more of them."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support import fuzz_checkpoints, fuzz_embeddings, fuzz_folders, fuzz_manifests, fuzz_requests, fuzz_results

TRIALS = [
    *(fuzz_manifests.trial, fuzz_embeddings.trial, fuzz_embeddings.as_dataset, fuzz_folders.trial),
    *(fuzz_results.in_a_folder, fuzz_results.packed, fuzz_checkpoints.trial),
    *(fuzz_requests.matrix, fuzz_requests.command_line),
]


@pytest.mark.parametrize("trial", TRIALS)
def test_random_files_are_read_right_or_refused(
    tmp_path: Path, trial: Callable[[np.random.Generator, Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    outcomes: Counter[str] = Counter()
    for seed in range(12):
        place = tmp_path / str(seed)
        place.mkdir()
        outcomes[trial(np.random.default_rng(seed), place).split()[0]] += 1
    assert outcomes["refused"] > 0
    assert outcomes["read"] + outcomes["scored"] > 0
