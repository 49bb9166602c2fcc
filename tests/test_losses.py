"""Contracts that every loss keeps, and each loss against an implementation that shares no code with it."""

import importlib
import os
import pkgutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning import distances, miners, reducers
from pytorch_metric_learning import losses as pml
from torch import Tensor, nn
from torch.nn import functional as F

import losses
from losses.pair import contrastive, multi_similarity, triplet
from losses.proxy import proxy_anchor, proxy_nca
from losses.shape import Shape, Unsuitable
from losses.softmax import arc_face, normalized_softmax

GOLDEN = Path(os.environ.get("BENCH_SHARED", Path(__file__).parents[2] / "shared")) / "golden"
DIM, CLASSES = 16, 6

Loss = Callable[[Shape], nn.Module]


def families() -> list[str]:
    names = [module.name for module in pkgutil.iter_modules(losses.__path__)]
    return [name for name in names if name not in ("shape", "ensembles")]


def every_loss() -> list[Loss]:
    modules = [importlib.import_module(f"losses.{family}") for family in families()]
    return [getattr(module, name) for module in modules for name in module.__all__]


def shape() -> Shape:
    return Shape(DIM, CLASSES, F.normalize(torch.randn(CLASSES, 12)))


def build(loss: Loss, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(7)
    return loss(shape()).to(dtype)


def batch(*, seed: int = 0, per_class: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Raw embeddings, of norms far from 1, and labels in mixed order."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(CLASSES).repeat(per_class)[torch.randperm(CLASSES * per_class, generator=generator)]
    centres = torch.randn(CLASSES, DIM, generator=generator, dtype=torch.float64)
    embeddings = centres[labels] + 2 * torch.randn(len(labels), DIM, generator=generator, dtype=torch.float64)
    return embeddings.to(dtype), labels


def value_and_gradients(module: nn.Module, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, list[Tensor]]:
    embeddings = embeddings.clone().requires_grad_()
    value = module(embeddings, labels)
    wanted = [embeddings, *module.parameters()]
    return value.detach(), list(torch.autograd.grad(value, wanted))


def assert_same(ours: tuple[Tensor, list[Tensor]], theirs: tuple[Tensor, list[Tensor]], tolerance: float) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=tolerance, atol=tolerance)
    for one, other in zip(ours[1], theirs[1], strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


# Contracts


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_loss_is_a_finite_scalar_and_its_gradient_reaches_everything(loss: Loss, dtype: torch.dtype) -> None:
    value, gradients = value_and_gradients(build(loss, dtype), *batch(dtype=dtype))
    assert value.shape == ()
    assert value.dtype == dtype
    assert value.isfinite()
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_float32_agrees_with_float64(loss: Loss) -> None:
    single = value_and_gradients(build(loss, torch.float32), *batch(dtype=torch.float32))
    embeddings, labels = batch(dtype=torch.float32)
    double = value_and_gradients(build(loss, torch.float32).double(), embeddings.double(), labels)
    assert_same(single, (double[0].float(), [gradient.float() for gradient in double[1]]), 2e-4)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_batch_order_does_not_matter(loss: Loss) -> None:
    embeddings, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    value, (gradient, *others) = value_and_gradients(build(loss), embeddings, labels)
    shuffled = value_and_gradients(build(loss), embeddings[order], labels[order])
    assert_same(shuffled, (value, [gradient[order], *others]), 1e-9)


@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_docstring_cites_its_source(loss: Loss) -> None:
    assert loss.__doc__
    assert any(char.isdigit() for char in loss.__doc__.splitlines()[0].partition("(")[2])


HARD_BATCHES = {
    "one class": (slice(None), torch.zeros_like),
    "all classes different": (slice(CLASSES), lambda labels: torch.arange(len(labels))),
    "a single image": (slice(1), lambda labels: labels),
    "duplicated rows": (torch.arange(24) // 2, lambda labels: labels),
    "duplicates across classes": (torch.arange(24) // 4, lambda labels: torch.arange(len(labels)) % CLASSES),
    "all rows the same": (torch.zeros(24, dtype=torch.long), lambda labels: labels),
}


@pytest.mark.parametrize("case", HARD_BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("loss", every_loss(), ids=lambda loss: loss.__name__)
def test_hard_batches_stay_finite_and_keep_a_graph(loss: Loss, dtype: torch.dtype, case: str) -> None:
    rows, relabel = HARD_BATCHES[case]
    embeddings, labels = batch(dtype=dtype)
    module = build(loss, dtype)
    embeddings = embeddings[rows].clone().requires_grad_()
    module(embeddings, relabel(labels[rows])).backward()
    gradients = [embeddings.grad, *(p.grad for p in module.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("loss", [contrastive, triplet, multi_similarity])
def test_without_a_valid_pair_the_loss_is_zero(loss: Loss) -> None:
    embeddings, _ = batch()
    value, _ = value_and_gradients(build(loss), embeddings[:1], torch.zeros(1, dtype=torch.long))
    assert value == 0


# Against pytorch-metric-learning


class Mined(nn.Module):
    def __init__(self, loss: nn.Module, miner: nn.Module) -> None:
        super().__init__()
        self.loss, self.miner = loss, miner

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.loss(embeddings, labels, self.miner(embeddings, labels))


def euclidean(*, squared: bool) -> distances.LpDistance:
    return distances.LpDistance(power=2 if squared else 1)


def margin_triplets(kind: str, *, squared: bool) -> Mined:
    measure = euclidean(squared=squared)
    loss = pml.TripletMarginLoss(margin=0.2, distance=measure, reducer=reducers.MeanReducer())
    if kind == "batch_hard":
        return Mined(loss, miners.BatchHardMiner(distance=measure))
    return Mined(loss, miners.TripletMarginMiner(margin=0.2, type_of_triplets=kind, distance=measure))


MINING = [f"{kind}-{squared}" for kind, squared in product(("semihard", "hard", "all", "batch_hard"), (True, False))]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", MINING)
def test_triplet_agrees_with_pml(case: str, seed: int) -> None:
    kind, squared = case.split("-")[0], case.endswith("True")
    ours = triplet(shape(), mining=kind, squared=squared)  # type: ignore[arg-type]
    theirs = margin_triplets(kind, squared=squared)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_contrastive_agrees_with_pml(seed: int) -> None:
    ours = contrastive(shape(), positive_margin=0.3, negative_margin=1.2, squared=False)
    theirs = pml.ContrastiveLoss(pos_margin=0.3, neg_margin=1.2)
    assert_same(value_and_gradients(ours, *batch(seed=seed)), value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_multi_similarity_agrees_with_pml(seed: int) -> None:
    ours = value_and_gradients(multi_similarity(shape()), *batch(seed=seed))
    theirs = Mined(pml.MultiSimilarityLoss(alpha=2, beta=50, base=0.5), miners.MultiSimilarityMiner(epsilon=0.1))
    assert_same(ours, value_and_gradients(theirs, *batch(seed=seed)), 1e-9)


CLASSIFIERS = {
    "proxy_nca": (
        lambda s: proxy_nca(s, positive_in_denominator=True),
        lambda: pml.ProxyNCALoss(CLASSES, DIM),
    ),
    "proxy_anchor": (proxy_anchor, lambda: pml.ProxyAnchorLoss(CLASSES, DIM)),
    "normalized_softmax": (normalized_softmax, lambda: pml.NormalizedSoftmaxLoss(CLASSES, DIM)),
    "arc_face": (arc_face, lambda: pml.ArcFaceLoss(CLASSES, DIM, margin=np.degrees(0.5))),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_losses_with_class_vectors_agree_with_pml(name: str, seed: int) -> None:
    ours, theirs = build(CLASSIFIERS[name][0]), CLASSIFIERS[name][1]().double()
    (weight,), (their_weight,) = ours.parameters(), theirs.parameters()
    transposed = their_weight.shape != weight.shape
    their_weight.data = weight.data.T.clone() if transposed else weight.data.clone()
    value, (gradient, of_weight) = value_and_gradients(theirs, *batch(seed=seed))
    expected = (value, [gradient, of_weight.T if transposed else of_weight])
    assert_same(value_and_gradients(ours, *batch(seed=seed)), expected, 1e-8)


# Against plain loops


def loop_distance(a: Tensor, b: Tensor, *, squared: bool) -> float:
    square = sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True))
    return square if squared else square**0.5


def loop_triplets(labels: list[int]) -> list[tuple[int, int, int]]:
    items = range(len(labels))
    return [(a, p, n) for a in items for p in items for n in items if a != p and labels[a] == labels[p] != labels[n]]


def keep_triplet(kind: str, t: float, band: float) -> bool:
    return {"semihard": 0 < t <= band, "hard": t <= 0, "all": t <= band}[kind]


@pytest.mark.parametrize("kind", ["semihard", "hard", "all"])
@pytest.mark.parametrize("band", [0.05, 0.3])
def test_triplet_agrees_with_loops(kind: str, band: float) -> None:
    embeddings, labels = batch(per_class=3)
    unit = F.normalize(embeddings)
    gaps = [
        loop_distance(unit[a], unit[n], squared=True) - loop_distance(unit[a], unit[p], squared=True)
        for a, p, n in loop_triplets(labels.tolist())
    ]
    costs = [max(0.0, 0.3 - t) for t in gaps if keep_triplet(kind, t, band)]
    ours = triplet(shape(), margin=0.3, mining=kind, band=band)(embeddings, labels)  # type: ignore[arg-type]
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


def test_a_triplet_on_the_edge_of_the_band_is_counted_whole() -> None:
    """Were its two distances counted by different roundings, a triplet that costs nothing would cost one of them."""
    module, labels = triplet(shape(), margin=0.2, squared=False, normalize=False), torch.tensor([0, 0, 1])
    for positive in torch.linspace(0.25, 3, 500):
        value = module(torch.stack([0 * positive, positive, positive + 0.2])[:, None], labels)
        assert value.item() == pytest.approx(0, abs=1e-6)


def test_batch_hard_averages_over_anchors_with_both_sides() -> None:
    embeddings, labels = batch(per_class=3)
    labels = labels.where(labels != labels[0], torch.arange(len(labels)) + CLASSES)
    unit = F.normalize(embeddings)
    costs = []
    for a in range(len(labels)):
        spread = [loop_distance(unit[a], other, squared=False) for other in unit]
        near = [d for j, d in enumerate(spread) if j != a and labels[j] == labels[a]]
        far = [d for j, d in enumerate(spread) if labels[j] != labels[a]]
        costs += [max(0.0, 0.2 + max(near) - min(far))] if near and far else []
    ours = triplet(shape(), mining="batch_hard", squared=False)(embeddings, labels)
    assert ours.item() == pytest.approx(sum(costs) / len(costs), abs=1e-12)


def test_contrastive_squares_what_a_pair_lacks() -> None:
    embeddings, labels = batch()
    unit = F.normalize(embeddings)
    near, far = [], []
    for i, j in product(range(len(labels)), repeat=2):
        d = loop_distance(unit[i], unit[j], squared=False)
        if i != j and labels[i] == labels[j]:
            near.append(d**2 / 2)
        elif labels[i] != labels[j] and d < 1:
            far.append((1 - d) ** 2 / 2)
    expected = sum(near) / len(near) + sum(far) / len(far)
    assert contrastive(shape())(embeddings, labels).item() == pytest.approx(expected, abs=1e-12)


def test_proxy_nca_leaves_the_own_proxy_out_of_the_denominator() -> None:
    module = build(proxy_nca)
    embeddings, labels = batch()
    unit, proxies = F.normalize(embeddings), F.normalize(next(module.parameters())).detach()
    costs = []
    for x, y in zip(unit, labels.tolist(), strict=True):
        nearness = [np.exp(-loop_distance(x, p, squared=True)) for p in proxies]
        costs.append(-np.log(nearness[y] / sum(v for c, v in enumerate(nearness) if c != y)))
    assert module(embeddings, labels).item() == pytest.approx(np.mean(costs), abs=1e-12)


def test_arc_face_stays_finite_on_its_own_class_vector() -> None:
    module = build(arc_face)
    embeddings = next(module.parameters()).detach().clone()
    opposite = torch.cat([embeddings, -embeddings])
    _, gradients = value_and_gradients(module, opposite, torch.arange(CLASSES).repeat(2))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_arc_face_without_margin_is_the_normalized_softmax() -> None:
    plain = build(lambda s: normalized_softmax(s, temperature=0.05))
    arc = build(lambda s: arc_face(s, margin=0.0, scale=20.0))
    assert_same(value_and_gradients(arc, *batch()), value_and_gradients(plain, *batch()), 1e-12)


def test_proxy_nca_says_that_one_class_is_too_few() -> None:
    with pytest.raises(Unsuitable, match="two classes or more"):
        proxy_nca(Shape(DIM, 1))


# Against the golden vectors


def golden(name: str) -> list[Path]:
    return sorted(GOLDEN.glob(f"{name}_case*.npz"))


def error(ours: Tensor, stored: np.ndarray) -> float:
    return float(np.abs(ours.numpy() - stored).max() / max(np.abs(stored).max(), 1e-3))


@pytest.mark.skipif(not golden("triplet"), reason="no golden vectors: set BENCH_SHARED")
@pytest.mark.parametrize("path", golden("triplet"), ids=lambda path: path.stem)
def test_triplet_agrees_with_the_golden_vectors(path: Path) -> None:
    case = np.load(path, allow_pickle=False)
    module = triplet(
        shape(),
        margin=float(case["margin"]),
        mining=("all", "hard", "semihard")[int(case["mining"])],  # type: ignore[arg-type]
        band=float(case["band"]),
        squared=False,
        normalize=False,
    )
    inputs = torch.from_numpy(case["embeddings"]), torch.from_numpy(case["labels"])
    value, (gradient,) = value_and_gradients(module, *inputs)
    assert error(value, case["loss"]) <= 1e-9
    assert error(gradient, case["grad_embeddings"]) <= 1e-8


@pytest.mark.skipif(not golden("proxy_nca"), reason="no golden vectors: set BENCH_SHARED")
@pytest.mark.parametrize("path", golden("proxy_nca"), ids=lambda path: path.stem)
def test_proxy_nca_agrees_with_the_golden_vectors(path: Path) -> None:
    case = np.load(path, allow_pickle=False)
    scales = {"embedding_scale": float(case["scale_x"]), "proxy_scale": float(case["scale_p"])}
    classes, dim = case["proxies"].shape
    module = proxy_nca(Shape(dim, classes), smoothing=float(case["smooth"]), positive_in_denominator=True, **scales)
    next(module.parameters()).data = torch.from_numpy(case["proxies"])
    inputs = torch.from_numpy(case["embeddings"]), torch.from_numpy(case["labels"])
    value, (gradient, of_proxies) = value_and_gradients(module, *inputs)
    assert error(value, case["loss"]) <= 1e-9
    assert error(gradient, case["grad_embeddings"]) <= 1e-8
    assert error(of_proxies, case["grad_proxies"]) <= 1e-8


# Memory


def test_triplet_memory_does_not_grow_with_the_triplets() -> None:
    """1,024 images of 16 classes hold 61 million triplets: a list of them would be 1.5 GB."""
    labels = torch.arange(16).repeat(64)
    embeddings = torch.randn(1024, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.profiler.profile(profile_memory=True) as profile:
        triplet(shape(), mining="all")(embeddings, labels).backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert largest <= 4 * 1024 * 1024 * 8
