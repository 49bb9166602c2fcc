import subprocess
from pathlib import Path

import numpy as np
import torch

from bench.job.provenance import peak_memory_mb, provenance, reset_peak_memory

CPU = torch.device("cpu")


def test_a_row_says_where_it_was_made():
    made = provenance(CPU, "abc", None)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    assert made.commit == (head.stdout.strip() or None)
    assert made.torch == torch.__version__.partition("+")[0]
    assert (made.dataset_sha, made.weights_sha, made.threads) == ("abc", None, torch.get_num_threads())
    assert made.device


def test_peak_memory_is_that_since_the_reset():
    reset_peak_memory(CPU)
    before = peak_memory_mb(CPU)
    held = np.ones(30_000_000)
    assert peak_memory_mb(CPU) > before + 200
    del held
