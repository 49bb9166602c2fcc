"""The surrogate of recall@k against its authors' values, plain loops and the exact ranking."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from support.recent_golden import assert_loss_met, every_case, in_both_precisions, stored
from support.sample_batches import assert_same, batch, shape, value_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from bench.matrix.catalogue import check, entries
from losses.pairwise import References
from losses.recall import Mixes, drawn, recall_at_k_loss, recall_at_k_surrogate
from losses.shape import Shape

CUTS = {"k": (1, 3, 40), "k_temperatures": (1.0, 0.5, 2.0), "temperature": 0.2}


@in_both_precisions
@every_case("recall_at_k_surrogate")
def test_stored_values_are_met(path: Path, dtype: torch.dtype) -> None:
    case = stored(path, dtype)
    embeddings, labels = case["embeddings"].requires_grad_(), case["labels"]
    settings = {
        "k": case["k_values"].tolist(),
        "k_temperatures": case["k_temperatures"].tolist(),
        "temperature": case["sim_temperature"],
        "count_query": bool(case["count_query"]),
    }
    mixes = Mixes(*(case[f"mix_{part}"] for part in ("first", "second", "alpha"))) if "mix_first" in case else None
    value = recall_at_k_loss(embeddings, labels, None, mixes, **settings)
    assert_loss_met(value, case, dtype)
    if mixes is None:
        module = recall_at_k_surrogate(Shape(embeddings.shape[1], 1), normalize=False, **settings)
        assert torch.equal(module(embeddings, labels), value)


def unbalanced(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of 1, 1, 2, 3 and 5 images, in mixed order."""
    embeddings, _ = batch(seed=seed)
    return embeddings[:12], torch.tensor([7, 0, 3, 0, 5, 3, 0, 7, 9, 0, 3, 0])


class Loops(nn.Module):
    """As the paper has it, one query, positive and image at a time."""

    def __init__(self, mixes: Sequence[tuple[int, int, float]], *, count_query: bool) -> None:
        super().__init__()
        self.mixes, self.count_query = mixes, count_query

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        rows, known, cap = list(F.normalize(embeddings)), labels.tolist(), len(labels)
        for first, second, share in self.mixes:
            rows.append(share * rows[first] + (1 - share) * rows[second])
            known.append(known[first])
        asked = [q for q in range(len(rows)) if known.count(known[q]) > 1]
        return sum(1 - self.recall(rows, known, q, cap) for q in asked) / len(asked)

    def recall(self, rows: list[Tensor], known: list[int], q: int, cap: int) -> Tensor:
        score = [rows[q] @ row for row in rows]
        others = [j for j in range(len(rows)) if self.count_query or j != q]
        positives = [i for i in range(len(rows)) if i != q and known[i] == known[q]]
        ranks = [1 + sum(torch.sigmoid((score[j] - score[i]) / 0.2) for j in others if j != i) for i in positives]
        found = []
        for cut, softness in zip(CUTS["k"], CUTS["k_temperatures"], strict=True):
            k = min(cut, cap)
            hits = sum(torch.sigmoid((k - rank) / softness) for rank in ranks)
            found.append(torch.clamp(hits, max=k) / min(k, len(positives)))
        return sum(found) / len(found)


@pytest.mark.parametrize("count_query", [True, False])
@pytest.mark.parametrize("simix", [False, True])
def test_value_and_gradient_agree_with_loops(simix: bool, count_query: bool) -> None:
    embeddings, labels = unbalanced()
    module = recall_at_k_surrogate(shape(), simix=simix, count_query=count_query, **CUTS)
    torch.manual_seed(3)
    mixes = drawn(labels)
    loops = Loops([(int(a), int(b), float(s)) for a, b, s in zip(*mixes, strict=True)] * simix, count_query=count_query)
    expected = value_and_gradients(loops, embeddings, labels)
    torch.manual_seed(3)
    assert_same(value_and_gradients(module, embeddings, labels), expected, 1e-9)


def test_every_two_images_of_a_class_are_mixed_once_and_anew_every_time() -> None:
    _, labels = unbalanced()
    first, second, share = drawn(labels)
    assert len({frozenset(pair) for pair in zip(first.tolist(), second.tolist(), strict=True)}) == 1 + 3 + 10
    assert torch.equal(labels[first], labels[second])
    assert share.min() >= 0
    assert share.max() < 1
    assert not torch.equal(share, drawn(labels).share)


@pytest.mark.parametrize("simix", [False, True])
def test_virtual_images_are_compared_with_references_too(simix: bool) -> None:
    """The batch itself as references, where each image finds itself in another place."""
    embeddings, labels = unbalanced()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    module = recall_at_k_surrogate(shape(), simix=simix, count_query=False, **CUTS)
    torch.manual_seed(3)
    alone = module(embeddings, labels)
    torch.manual_seed(3)
    references = References(embeddings[order], labels[order], order.argsort())
    torch.testing.assert_close(module(embeddings, labels, references), alone)


def test_cold_sigmoids_count_as_the_ranking_does() -> None:
    """But for a positive whose rank is k itself, which counts one half."""
    embeddings, labels = unbalanced()
    cosine, costs = F.normalize(embeddings) @ F.normalize(embeddings).T, []
    for q in range(len(labels)):
        order = [j for j in cosine[q].argsort(descending=True).tolist() if j != q]
        ranks = [place for place, j in enumerate(order, 1) if labels[j] == labels[q]]
        recalls = [sum((r < k) + 0.5 * (r == k) for r in ranks) / min(k, len(ranks)) for k in (1, 4) if ranks]
        costs += [1 - sum(recalls) / 2] if ranks else []
    cold = {"temperature": 1e-7, "k": (1, 4), "k_temperatures": (1e-3, 1e-3), "count_query": False}
    value = recall_at_k_surrogate(shape(), **cold)(embeddings, labels)
    assert value.item() == pytest.approx(sum(costs) / len(costs), abs=1e-6)
    assert len(costs) == 10


def test_a_batch_without_positives_costs_nothing() -> None:
    embeddings, _ = batch()
    for simix in (False, True):
        module = recall_at_k_surrogate(shape(), simix=simix)
        value, (gradient,) = value_and_gradients(module, embeddings, torch.arange(len(embeddings)))
        assert value == 0
        assert not gradient.any()


def test_cut_offs_and_temperatures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="2 k_temperatures for 5 cut-offs in k: give one for each"):
        recall_at_k_surrogate(shape(), k_temperatures=(1.0, 2.0))
    with pytest.raises(ValueError, match="no cut-off"):
        recall_at_k_surrogate(shape(), k=())
    with pytest.raises(ValueError, match="k = \\(0,\\) is not possible"):
        recall_at_k_surrogate(shape(), k=(0,))


def test_a_matrix_may_set_the_cut_offs() -> None:
    entry = entries("losses")["recall_at_k_surrogate"]
    checked = check(entry, {"k": [1, 2], "k_temperatures": [1, 0.5], "simix": True})
    assert entry.function()(shape(), **checked).settings["k"] == (1, 2)
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        check(entry, {"k": [0]})
