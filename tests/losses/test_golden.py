"""Every stored vector: values, gradients and intermediate quantities of the authors' own code.

One test a file of BENCH_GOLDEN, named `FAMILY_caseK.npz`. A family computes, from what it reads of a case, what the
case stores; a key that is neither read nor computed is a failure, and so is a family without a function here.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.sample_batches import GOLDEN
from torch import Tensor, nn
from torch.nn import functional as F

from bench.scoring import metrics
from bench.scoring.clustering import Clustering
from bench.scoring.ranking import neighbours, rank
from losses.batch_softmax import n_pair_loss
from losses.class_softmax import linear_scores, smooth_cross_entropy, soft_triple
from losses.group_loss import correlation, first_of_class, group_loss, refined
from losses.learned import SoftSimplex, coefficients, compression_loss, diversity_loss
from losses.modalities import multimodal_logits, multimodal_loss
from losses.pair import binomial_deviance_loss
from losses.proxy import proxy_nca
from losses.ranked import ranked_list_loss, ranked_lists
from losses.shape import Shape
from losses.triplets import gaps, triplet
from losses.tuplet import angular_n_pair_loss

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
        return torch.tensor(value, dtype=self.dtype if value.dtype.kind == "f" else torch.long)

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
    shape = Shape(case["embeddings"].shape[1], 1)
    module = triplet(shape, margin=margin, mining=mining, band=band, squared=False, normalize=False)
    low, high = gaps(margin, mining, band)
    kept = triplets(case["embeddings"].double(), case["labels"], low=low, high=high)
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


def golden_binomial(case: Case) -> Computed:
    embeddings = leaf(case["embeddings"])
    value = binomial_deviance_loss(
        embeddings,
        case["labels"],
        negative_scale=case["alpha"],
        margin=case["margin"],
        normalize=False,
        positives="below_one",
    )
    return {"loss": value, **gradients(value, {"embeddings": embeddings})}


def golden_soft_triple(case: Case) -> Computed:
    dim, classes, per_class = len(case["centers"]), case["centers"].shape[1] // case["n_centers"], case["n_centers"]
    settings = {"scale": case["la"], "gamma": case["gamma"], "tau": case["tau"], "margin": case["margin"]}
    module = soft_triple(Shape(dim, classes), centers=per_class, normalize=False, **settings)
    by_class = case["centers"].view(dim, classes, per_class)
    centers = next(module.parameters())
    centers.data = by_class.permute(2, 1, 0).reshape(-1, dim)
    computed = of_module(case, module, centers=centers)
    back = computed["grad_centers"].view(per_class, classes, dim).permute(2, 1, 0)
    return {**computed, "grad_centers": back.reshape(dim, -1)}


def classifier(case: Case) -> dict[str, Tensor]:
    names = ["cls_W1", "cls_b1", "cls_W2", "cls_b2"] if case["hidden"] else ["cls_W1", "cls_b1"]
    return {name: leaf(case[name]) for name in names}


def golden_smooth_ce(case: Case) -> Computed:
    features, layers = leaf(case["features"]), classifier(case)
    value = smooth_cross_entropy(linear_scores(features, *layers.values()), case["labels"], smoothing=case["smooth"])
    return {"loss": value, **gradients(value, {"features": features, **layers})}


def pairs_of(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    embeddings = leaf(case["embeddings"])
    anchors, positives = case["pairs"].T
    case["labels"]
    return embeddings, embeddings[anchors], embeddings[positives]


def golden_n_pair(case: Case) -> Computed:
    embeddings, anchors, positives = pairs_of(case)
    value = n_pair_loss(anchors, positives, l2=case["l2"])
    return {"loss": value, **gradients(value, {"embeddings": embeddings})}


def golden_angular_mc(case: Case) -> Computed:
    embeddings, anchors, positives = pairs_of(case)
    value = angular_n_pair_loss(anchors, positives, alpha=case["alpha_deg"])
    joint = n_pair_loss(anchors, positives) + case["lam"] * value
    of_joint = gradients(joint, {"embeddings_joint": embeddings})
    return {"loss": value, "loss_joint": joint, **gradients(value, {"embeddings": embeddings}), **of_joint}


def golden_multimodal(case: Case) -> Computed:
    assert case["proxies"].shape[1] == case["n_classes"] * case["proxies_per_class"]
    probs, proxies = leaf(case["probs"]), leaf(case["proxies"])
    settings = {"modalities": case["n_modalities"], "gamma": case["gamma"]}
    value = multimodal_loss(probs, case["labels"], proxies, **settings)
    logits = multimodal_logits(probs, proxies, **settings)
    return {"loss": value, "logits": logits, **gradients(value, {"probs": probs, "proxies": proxies})}


def golden_group_loss(case: Case) -> Computed:
    features, logits, labels = leaf(case["features"]), leaf(case["logits"]), case["labels"]
    temperature = math.inf if case["prior_uniform"] else case["tau"]
    assert case["tau"] > 0
    settings = {"anchors": case["n_anchors"], "temperature": temperature, "iterations": case["n_iter"]}
    value, entropy = group_loss(features, logits, labels, **settings), F.cross_entropy(logits, labels)
    of_group = gradients(value, {"group_features": features, "group_logits": logits})
    return {
        "anchor_mask": first_of_class(labels, case["n_anchors"]).long(),
        "W": correlation(features).relu(),
        "X_final": refined(features, logits, labels, **settings),
        "loss_group": value,
        "loss_ce": entropy,
        "loss_total": value + entropy,
        **of_group,
        **gradients(value + entropy, {"total_logits": logits}),
    }


def golden_rll(case: Case) -> Computed:
    labels, balance = case["labels"], case["lam"]
    settings = {"alpha": case["alpha"], "margin": case["m"], "temperature": case["T"]}
    ways = {
        "query": {},
        "wdetach": {"gallery_gradient": True},
        "full": {"gallery_gradient": True, "weight_gradient": True},
    }
    computed: Computed = {}
    for way, moves in ways.items():
        raw, points = leaf(case["f"]), leaf(F.normalize(case["f"]))
        value = ranked_list_loss(raw, labels, balance=balance, **settings, **moves)
        lists = ranked_lists(points, labels, **settings, **moves)
        each = (1 - balance) * lists.near + balance * lists.far
        computed |= gradients(value, {f"f_{way}": raw}) | gradients(each.mean(), {f"u_{way}": points})
        computed |= {"loss": value, "loss_per_query": each, "L_P": lists.near, "L_N": lists.far}
        computed |= {"n_pos": lists.positives.sum(1), "n_neg": lists.negatives.sum(1), "distances": lists.distances}
    return computed


def golden_diversity(case: Case) -> Computed:
    heads = leaf(case["heads"])
    value = diversity_loss(heads)
    return {"loss": value, **gradients(value, {"heads": heads})}


def golden_compression(case: Case) -> Computed:
    inputs = {name: leaf(case[name]) for name in ("X_cat", "W1", "b1", "W2", "b2")}
    whole, w1, b1, w2, b2 = inputs.values()
    assert len(w1) == 2 * len(whole.T) // case["m"]
    compressed = F.linear(torch.tanh(F.linear(whole, w1, b1)), w2, b2)
    value = compression_loss(compressed, whole)
    return {"loss": value, "Z": compressed, **gradients(value, inputs)}


def golden_wel(case: Case) -> Computed:
    return ensemble(case, lambda step: {name: leaf(case[f"s{step}_{name}"]) for name in ("features", "embeddings")})


def golden_wedl(case: Case) -> Computed:
    return ensemble(case, lambda step: {"heads": leaf(case[f"s{step}_heads"])})


def components(case: Case, learned: dict[str, Tensor]) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """The member losses of an ensemble, by their codes."""
    layers = [tensor for name, tensor in learned.items() if name.startswith("cls")]
    named = {"margin": 1.0, "mining": "semihard", "band": 0.1, "squared": False, "normalize": False}

    def proxies(embeddings: Tensor, labels: Tensor) -> Tensor:
        classes, dim = learned["proxies"].shape
        module = proxy_nca(Shape(dim, classes), proxy_scale=3.0, smoothing=0.1, positive_in_denominator=True)
        return torch.func.functional_call(module, {"proxies": learned["proxies"]}, (embeddings, labels))

    losses: list[Callable[[Tensor, Tensor], Tensor]] = [
        lambda x, y: smooth_cross_entropy(linear_scores(x, *layers), y, smoothing=case["smooth"]),
        lambda x, y: triplet(Shape(x.shape[1], 1), **named)(x, y),
        lambda x, y: binomial_deviance_loss(x, y, normalize=False, positives="below_one"),
        proxies,
    ]
    return [losses[code] for code in case["components"]]


def ensemble(case: Case, inputs: Callable[[int], dict[str, Tensor]]) -> Computed:
    """Consecutive batches: `inputs` of a step are leaves by name, heads [m, n, E] or embeddings and features."""
    learned = classifier(case) | ({"proxies": leaf(case["proxies"])} if "proxies" in case else {})
    assert all(len(tensor) == case["n_classes"] for tensor in list(learned.values())[-1:])
    simplex = SoftSimplex(len(case["components"]), None, case["eta"]).to(case.dtype)
    elsewhere = "sum of weights not 1" in str(case.stored["desc"])
    start = coefficients(len(case["components"]), case["prior"].tolist())
    simplex.c.data = case["c_init"] if elsewhere else start.to(case.dtype)
    computed: Computed = {"c_init": simplex.c.detach().clone()}
    adam = None
    if case["adam"]:
        settings = {"eps": case["adam_eps"], "weight_decay": case["adam_weight_decay"]}
        adam = torch.optim.Adam([simplex.c], lr=case["adam_lr"], **settings)
    for step in range(case["n_steps"]):
        found = one_step(case, step, simplex, learned, inputs(step))
        if adam:
            simplex.c.grad = found["grad_c"]
            adam.step()
        computed |= {f"s{step}_{name}": value for name, value in found.items()}
    return {**computed, "c_final": simplex.c.detach()}


def one_step(
    case: Case, step: int, simplex: SoftSimplex, learned: dict[str, Tensor], inputs: dict[str, Tensor]
) -> Computed:
    labels, members = case[f"s{step}_labels"], components(case, learned)
    heads = inputs.get("heads", [inputs.get("features"), *[inputs.get("embeddings")] * (len(members) - 1)])
    values = torch.stack([member(head, labels) for member, head in zip(members, heads, strict=True)])
    state = {"c": simplex.c.detach().clone(), "w": simplex.weights(), "penalty": simplex.penalty()}
    apart = {"diversity_term": case["lam"] * diversity_loss(inputs["heads"])} if "heads" in inputs else {}
    value = simplex(values) + sum(apart.values())
    rest = {"components": values, "running_mean": simplex.means.clone(), "loss": value, **apart}
    return {**state, **rest, **gradients(value, {"c": simplex.c, **inputs, **learned})}


def golden_metrics(case: Case) -> Computed:
    queries, labels = case["query"].double(), case["query_labels"].numpy()
    other = {"gallery": None, "gallery_labels": None}
    if not case["self_excluded"]:
        other = {"gallery": case["gallery"].double(), "gallery_labels": case["gallery_labels"].numpy()}
    ranking = rank(queries, labels, **other, depth=len(case["order"][0]))
    asked = ranking.n_relevant > 0

    def mean(values: NDArray[np.float64]) -> float:
        return float(values[asked].mean()) if asked.any() else math.nan

    ks = case["ks"].tolist()
    scores = {
        "recall_at_k": [mean(metrics.recall_at(ranking, k)) for k in ks],
        "map_at_r": mean(metrics.map_at_r(ranking)),
        "r_precision": mean(metrics.r_precision(ranking)),
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
        "pq_map_at_r": np.where(asked, metrics.map_at_r(ranking), np.nan),
        "pq_r_precision": np.where(asked, metrics.r_precision(ranking), np.nan),
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
def test_every_stored_family_is_computed() -> None:
    assert {path.stem.rpartition("_case")[0] for path in FILES} <= FAMILIES.keys()
    assert sorted(GOLDEN.glob("*.npz")) == FILES, "a file is named otherwise than FAMILY_caseK.npz"
