"""Random files of users, for as long as asked: no traceback, no silent guess.

    make fuzz, or: PYTHONPATH=tests python -P tests/perf/fuzz.py --minutes 10 [--seed 0] [--only results]

Manifests, files of embeddings and folders of pictures, each with what people and programs do to them, are read by the
functions that the commands call, embeddings both to be scored and as a dataset. So are stored results, packed or not,
checkpoints and matrix files, after random damage; and commands get random words. Each is read as it was meant, or
refused in one sentence. What breaks that is printed with its seed, and its files are kept; the exit code is then 1.
"""

import argparse
import os
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from support import fuzz_checkpoints, fuzz_embeddings, fuzz_folders, fuzz_manifests, fuzz_requests, fuzz_results

Trial = Callable[[np.random.Generator, Path], str]
TRIALS: Mapping[str, Trial] = {
    "manifests": fuzz_manifests.trial,
    "embeddings": fuzz_embeddings.trial,
    "vectors": fuzz_embeddings.as_dataset,
    "folders": fuzz_folders.trial,
    "results": fuzz_results.in_a_folder,
    "packed results": fuzz_results.packed,
    "checkpoints": fuzz_checkpoints.trial,
    "matrices": fuzz_requests.matrix,
    "command lines": fuzz_requests.command_line,
}


def fuzz(minutes: float, first: int, scratch: Path, trials: Mapping[str, Trial] = TRIALS) -> tuple[Counter[str], int]:
    """What came of the trials, and how many broke the rule."""
    end, outcomes, broken, seed = time.monotonic() + 60 * minutes, Counter[str](), 0, first
    while time.monotonic() < end:
        for name, trial in trials.items():
            place = scratch / f"{name.replace(' ', '-')}-{seed}"
            place.mkdir()
            try:
                outcomes[f"{name}: {trial(np.random.default_rng(seed), place)}"] += 1
            except Exception:
                broken += 1
                print(f"--- {name}, seed {seed}, files in {place}")
                traceback.print_exc()
            else:
                shutil.rmtree(place)
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        seed += 1
    return outcomes, broken


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=TRIALS)
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    os.environ["BENCH_CACHE"] = str(scratch / "cache")
    trials = {name: trial for name, trial in TRIALS.items() if asked.only in (None, name)}
    outcomes, broken = fuzz(asked.minutes, asked.seed, scratch, trials)
    for outcome, count in sorted(outcomes.items()):
        print(f"{count:7,} {outcome}")
    print(f"{sum(outcomes.values()) + broken:7,} trials from seed {asked.seed} on, {broken} of them broken")
    raise SystemExit(bool(broken))
