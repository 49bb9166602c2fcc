"""Every stored vector: values, gradients and intermediate quantities of the authors' own code.

One test a file of BENCH_GOLDEN, named `FAMILY_caseK.npz`. A family computes, from what it reads of a case, what the
case stores; a key that is neither read nor computed is a failure, and so is a family without a function here.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sample_batches import GOLDEN
from torch import Tensor, nn

from bench import metrics
from bench.clustering import Clustering
from bench.ranking import Ranking, neighbours, rank
from losses.proxy import proxy_nca
from losses.shape import Shape
from losses.triplet import triplet

FILES = sorted(GOLDEN.glob("*_case*.npz"))
SINGLE = {"wel": 5e-3, "wedl": 5e-3, "compression": 2e-3, "diversity": 5e-4, "metrics": 1e-6}
"""Largest error in single precision, 1e-4 for other families; metrics are always computed in double."""

Computed = dict[str, Any]


class Case(Mapping[str, Any]):
    """A stored case: real arrays as tensors of the precision asked for, whole numbers as they are, scalars as such."""

    def __init__(self, path: Path, dtype: torch.dtype) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.stored: dict[str, NDArray[Any]] = {key: file[key] for key in file.files}
        self.dtype = dtype
        self.read = {"desc", "edge"}

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        value = self.stored[key]
        if value.ndim == 0:
            return value.item()
        return torch.from_numpy(value).to(self.dtype if value.dtype.kind == "f" else torch.long)

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)


def gradients(value: Tensor, wanted: dict[str, Tensor]) -> Computed:
    found = torch.autograd.grad(value, list(wanted.values()), retain_graph=True)
    return {f"grad_{name}": gradient for name, gradient in zip(wanted, found, strict=True)}


def leaf(values: Tensor) -> Tensor:
    return values.clone().requires_grad_()


def of_module(case: Case, module: nn.Module, **wanted: Tensor) -> Computed:
    """Loss of a module on the case's embeddings, its gradient, and those of the parameters named."""
    embeddings = leaf(case["embeddings"])
    value = module(embeddings, case["labels"])
    return {"loss": value, **gradients(value, {"embeddings": embeddings, **wanted})}


def golden_triplet(case: Case) -> Computed:
    margin, band, mining = case["margin"], case["band"], ("all", "hard", "semihard")[case["mining"]]
    module = triplet(Shape(1, 1), margin=margin, mining=mining, band=band, squared=False, normalize=False)
    kept = triplets(case["embeddings"].double(), case["labels"], low=module.low, high=module.high)
    return {"triplets": kept, "n_triplets": len(kept), **of_module(case, module)}


def triplets(points: Tensor, labels: Tensor, *, low: float, high: float) -> Tensor:
    """The triplets (anchor, positive, negative) [q, 3] with low < d_an - d_ap <= high, listed."""
    distance = torch.linalg.vector_norm(points[:, None] - points, dim=2)
    gap = distance[:, None] - distance[:, :, None]
    same = labels[:, None] == labels
    valid = (same & ~torch.eye(len(labels), dtype=torch.bool))[:, :, None] & ~same[:, None]
    return torch.nonzero(valid & (gap > low) & (gap <= high))


def golden_proxy_nca(case: Case) -> Computed:
    classes, dim = case["proxies"].shape
    scales = {"embedding_scale": case["scale_x"], "proxy_scale": case["scale_p"]}
    module = proxy_nca(Shape(dim, classes), smoothing=case["smooth"], positive_in_denominator=True, **scales)
    proxies = next(module.parameters())
    proxies.data = case["proxies"]
    return of_module(case, module, proxies=proxies)


def golden_metrics(case: Case) -> Computed:
    queries, labels = case["query"].double(), case["query_labels"].numpy()
    other = {"gallery": None, "gallery_labels": None}
    if not case["self_excluded"]:
        other = {"gallery": case["gallery"].double(), "gallery_labels": case["gallery_labels"].numpy()}
    ranking = rank(queries, labels, **other, depth=len(case["order"][0]))
    each = [Ranking(*(column[[i]] for column in ranking[:3]), ranking.candidates) for i in range(len(labels))]
    ks = case["ks"].tolist()
    scores = {
        "recall_at_k": [metrics.recall_at(ranking, k) for k in ks],
        "map_at_r": metrics.map_at_r(ranking),
        "r_precision": metrics.r_precision(ranking),
    }
    for name, score in scores.items():  # any rule for ties, so ours too, lies between these
        best, worst = (torch.as_tensor(case[f"{name}_{side}_ties"]).double() for side in ("best", "worst"))
        assert (torch.as_tensor(score) <= best + 1e-6).all()
        assert (torch.as_tensor(score) >= worst - 1e-6).all()
    clusterings = [Clustering(labels, clusters) for clusters in case["clusters"].numpy()]
    return {
        **scores,
        "order": neighbours(queries, other["gallery"], depth=len(case["order"][0])),
        "n_relevant": ranking.n_relevant,
        "first_relevant_rank": ranking.first_hit,
        "pq_map_at_r": [metrics.map_at_r(one) for one in each],
        "pq_r_precision": [metrics.r_precision(one) for one in each],
        "recall_at_k_counting_lone": [np.mean((ranking.first_hit > 0) & (ranking.first_hit <= k)) for k in ks],
        "nmi": [metrics.nmi(one) for one in clusterings],
        "ami": [metrics.ami(one) for one in clusterings],
    }


FAMILIES: dict[str, Callable[[Case], Computed]] = {
    name.removeprefix("golden_"): function for name, function in list(globals().items()) if name.startswith("golden_")
}


def tolerance(family: str, key: str, dtype: torch.dtype) -> float:
    if dtype == torch.float32:
        return 1e-3 if key == "distances" else SINGLE.get(family, 1e-4)
    return 1e-6 if key == "distances" else 1e-8 if key.startswith("grad") else 1e-9


def error(computed: Any, stored: NDArray[Any]) -> float:
    ours = np.asarray(computed.detach().numpy() if isinstance(computed, Tensor) else computed)
    assert ours.shape == stored.shape
    if stored.dtype.kind == "i" or stored.size == 0:
        return 0.0 if np.array_equal(ours, stored) else np.inf
    assert np.array_equal(np.isnan(ours), np.isnan(stored))
    return float(np.nanmax(np.abs(ours - stored)) / max(np.nanmax(np.abs(stored)), 1e-3))


@pytest.mark.skipif(not FILES, reason=f"no vectors in {GOLDEN.name}: set BENCH_GOLDEN or BENCH_SHARED")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_vectors_are_met(path: Path, dtype: torch.dtype) -> None:
    family = path.stem.rpartition("_case")[0]
    case = Case(path, dtype)
    computed = FAMILIES[family](case)
    assert case.stored.keys() <= case.read | computed.keys(), "a key is neither read nor computed"
    errors = {key: error(computed[key], case.stored[key]) for key in computed.keys() & case.stored.keys()}
    assert {k: e for k, e in errors.items() if e > tolerance(family, k, dtype)} == {}


@pytest.mark.skipif(not FILES, reason=f"no vectors in {GOLDEN.name}: set BENCH_GOLDEN or BENCH_SHARED")
def test_every_family_is_stored() -> None:
    """A folder that lost a family would otherwise pass in silence."""
    assert {path.stem.rpartition("_case")[0] for path in FILES} == FAMILIES.keys()
