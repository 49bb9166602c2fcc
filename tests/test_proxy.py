"""Proxy losses against plain loops and stored vectors; test_softmax.py holds them against other code."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sample_batches import DIM, batch, build, error, golden, loop_distance, value_and_gradients
from torch.nn import functional as F

from losses.proxy import proxy_nca
from losses.shape import Shape, Unsuitable


def test_proxy_nca_leaves_the_own_proxy_out_of_the_denominator() -> None:
    module = build(proxy_nca)
    embeddings, labels = batch()
    unit, proxies = F.normalize(embeddings), F.normalize(next(module.parameters())).detach()
    costs = []
    for x, y in zip(unit, labels.tolist(), strict=True):
        nearness = [np.exp(-loop_distance(x, p, squared=True)) for p in proxies]
        costs.append(-np.log(nearness[y] / sum(v for c, v in enumerate(nearness) if c != y)))
    assert module(embeddings, labels).item() == pytest.approx(np.mean(costs), abs=1e-12)


def test_proxy_nca_says_that_one_class_is_too_few() -> None:
    with pytest.raises(Unsuitable, match="two classes or more"):
        proxy_nca(Shape(DIM, 1))


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
