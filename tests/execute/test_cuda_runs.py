"""Whole runs on a GPU: what the processor's tests cannot show."""

from contextlib import closing

import pandas as pd
import pytest
import torch
from support.jobs import matrix_file

import bench

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
LOSSES = '["triplet", "proxy_anchor", "soft_triple", "smooth_ap", "margin", "group"]'


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    return matrix_file(folder, losses=LOSSES, ensembles='[{ name = "weighted", members = ["triplet", "contrastive"] }]')


def shas(results) -> pd.Series:
    rows = bench.load(results)
    assert set(rows["status"]) == {"done"}, rows["reason"].tolist()
    assert rows["device"].str.contains("NVIDIA").all()
    return rows.set_index("key")["embeddings_sha"].sort_index()


@pytest.fixture(scope="module")
def alone(matrix, tmp_path_factory):
    """Jobs that had the GPU to themselves."""
    results = tmp_path_factory.mktemp("alone")
    list(bench.run(matrix, results=results, device="cuda"))
    return shas(results)


def test_jobs_that_share_a_gpu_have_the_same_bits(matrix, alone, tmp_path):
    events = list(bench.run(matrix, results=tmp_path, device="cuda", gpus_per_job=0.25))
    running, most = 0, 0
    for event in events:
        running += {"started": 1, "done": -1}.get(event.kind, 0)
        most = max(most, running)
    assert most == 4
    assert shas(tmp_path).equals(alone)


def test_a_run_that_was_killed_ends_with_the_same_bits(matrix, alone, tmp_path):
    longer = ["recipe.epochs=20"]
    list(bench.run(matrix, results=tmp_path / "whole", device="cuda", changes=longer, workers=2))
    for _ in range(3):
        with closing(
            bench.run(matrix, results=tmp_path / "cut", device="cuda", changes=longer, checkpoint_every=1e-4)
        ) as events:
            told = 0
            for event in events:
                told += event.kind == "epoch"
                if told == 15:
                    break
    list(bench.run(matrix, results=tmp_path / "cut", device="cuda", changes=longer, checkpoint_every=1e-4))
    rows = bench.load(tmp_path / "cut")
    assert rows["resumed"].sum() >= 2
    assert shas(tmp_path / "cut").equals(shas(tmp_path / "whole"))
