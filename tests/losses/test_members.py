"""Members that train together: what each did can be read, and what they share is worked out once."""

import copy
import gc
import math
import weakref
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from support.sample_batches import Loss, batch, shape
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.matrix.catalogue import entries
from losses import ensembles, pairwise
from losses.batch_softmax import nca
from losses.class_softmax import softmax
from losses.learned import compressed_heads, diverse_heads, weighted
from losses.members import Share, shares
from losses.memory import cross_batch_memory
from losses.multitask import conflict_free, gradient_norm, uncertainty
from losses.pair import binomial_deviance, contrastive, multi_similarity
from losses.proxy import proxy_nca
from losses.ranked import ranked_list
from losses.triplets import triplet

LOSSES, KINDS = {k: e for k, e in entries("losses").items() if k != "hyperbolic"}, entries("ensembles")
"""Without the loss that no ensemble takes beside others."""
OF_MANY = {name: entry.function() for name, entry in KINDS.items() if name != "cross_batch_memory"}
PARTNERS = ("contrastive", "lifted_structure", "angular", "ranked_list")
FOUR = [softmax, triplet, binomial_deviance, proxy_nca]

Ensemble = Callable[..., nn.Module]
Lesson = tuple[Tensor, Tensor, list[Tensor]]


def build(ensemble: Ensemble, members: Sequence[Loss], **settings: object) -> nn.Module:
    torch.manual_seed(7)
    return ensemble(shape(), members, **settings).double()


def lesson(module: nn.Module, embeddings: Tensor, labels: Tensor) -> Lesson:
    """Value, gradient of the embeddings, gradients of the members' parameters."""
    embeddings = embeddings.clone().requires_grad_()
    module.zero_grad()
    value = module(embeddings, labels)
    value.backward()
    return value.detach(), embeddings.grad, [p.grad for p in module.get_submodule("members").parameters()]


def added(members: nn.ModuleList, embeddings: Tensor, labels: Tensor) -> Lesson:
    """Each member for itself, with nothing shared."""
    values, total = [], torch.zeros_like(embeddings)
    members.zero_grad()
    for member in members:
        own = embeddings.clone().requires_grad_()
        value = member(own, labels)
        value.backward()
        values.append(value.detach())
        total += own.grad
    return torch.stack(values).sum(), total, [p.grad for p in members.parameters()]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("partner", PARTNERS)
@pytest.mark.parametrize("ensemble", [ensembles.sum, gradient_norm])
def test_what_is_shared_changes_nothing(ensemble: Ensemble, partner: str, name: str) -> None:
    """The members draw at random in the same order."""
    module = build(ensemble, [LOSSES[name].function(), LOSSES[partner].function(), LOSSES[name].function()])
    apart = copy.deepcopy(module.members)
    torch.manual_seed(0)
    ours = lesson(module, *batch())
    torch.manual_seed(0)
    torch.testing.assert_close(ours, added(apart, *batch()), rtol=1e-9, atol=1e-9)


class Count(TorchDispatchMode):
    def __init__(self, operation: object) -> None:
        super().__init__()
        self.operation, self.calls = operation, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += func is self.operation
        return func(*args, **(kwargs or {}))


def count(operation: object, module: nn.Module, embeddings: Tensor, labels: Tensor) -> int:
    with Count(operation) as counted:
        module(embeddings, labels)
    return counted.calls


MM, NORM, EQ = torch.ops.aten.mm.default, torch.ops.aten.linalg_vector_norm.default, torch.ops.aten.eq.Tensor
PAIRWISE = [contrastive, triplet, binomial_deviance, multi_similarity, nca, partial(contrastive, squared=False)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("operation", [MM, NORM, EQ], ids=["product", "norm", "mask"])
def test_what_is_shared_is_worked_out_once(operation: object, dtype: torch.dtype) -> None:
    embeddings, labels = batch(dtype=dtype)
    members = [*PAIRWISE, partial(ensembles.sum, members=PAIRWISE)]
    module = build(ensembles.sum, members)
    assert count(operation, module, embeddings.requires_grad_(), labels) == 1
    assert sum(count(operation, member, embeddings, labels) for member in module.members) == len(members)


def test_ranked_lists_share_their_distances() -> None:
    module = build(ensembles.sum, [ranked_list, partial(ranked_list, alpha=1.4)])
    assert count(MM, module, *batch()) == 1


@pytest.mark.parametrize("ensemble", [gradient_norm, conflict_free])
def test_members_taught_one_by_one_share_too(ensemble: Ensemble) -> None:
    """Beside what the ensembles themselves do: a norm of the gradients, and a comparison a member."""
    embeddings, labels = batch()
    module = build(ensemble, PAIRWISE)
    assert count(EQ, module, embeddings.requires_grad_(), labels) == 1 + len(PAIRWISE) * (ensemble is conflict_free)
    assert count(NORM, module, embeddings, labels) == 1 + (ensemble is gradient_norm)


@pytest.mark.parametrize("ensemble", [ensembles.slices, diverse_heads])
def test_members_on_slices_share_the_masks(ensemble: Ensemble) -> None:
    module = build(ensemble, [contrastive, triplet])
    assert count(EQ, module, *batch()) == 1
    assert count(MM, module, *batch()) == 2


def test_nothing_is_carried_from_one_batch_to_the_next() -> None:
    """Not even where the next one stands in the same memory."""
    module, (embeddings, labels) = build(ensembles.sum, PAIRWISE), batch()
    module(embeddings, labels)
    embeddings.copy_(batch(seed=1)[0])
    labels.copy_(batch(seed=1)[1])
    torch.testing.assert_close(module(embeddings, labels), added(module.members, *batch(seed=1))[0])


def test_a_batch_is_forgotten_after_its_backward_pass() -> None:
    module, (embeddings, labels) = build(ensembles.sum, PAIRWISE), batch()
    embeddings.requires_grad_()
    gone = weakref.ref(embeddings)
    module(embeddings, labels).backward()
    del embeddings
    gc.collect()
    assert gone() is None


class Fails(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        pairwise.unit(embeddings)
        raise RuntimeError("out of luck")


def test_a_member_that_fails_leaves_nothing_behind() -> None:
    embeddings, labels = batch()
    with pytest.raises(RuntimeError, match="out of luck"):
        build(ensembles.sum, [contrastive, lambda _: Fails()])(embeddings, labels)
    assert pairwise.unit(embeddings) is not pairwise.unit(embeddings)


def test_what_has_no_graph_is_not_given_to_one_who_needs_it() -> None:
    embeddings = batch()[0].requires_grad_()
    with pairwise.shared():
        with torch.no_grad():
            assert not pairwise.unit(embeddings).requires_grad
        assert pairwise.unit(embeddings).requires_grad
        with pairwise.shared():
            known = pairwise.distances(pairwise.unit(embeddings))
        assert pairwise.distances(pairwise.unit(embeddings)) is known
        assert pairwise.distances(pairwise.unit(embeddings), squared=True) is not known


def test_memories_beside_one_another_keep_to_their_own() -> None:
    memories = [partial(cross_batch_memory, members=[loss], size=30) for loss in (contrastive, triplet, contrastive)]
    module = build(ensembles.sum, [*memories, contrastive])
    apart = copy.deepcopy(module.members)
    for seed in range(3):
        torch.testing.assert_close(lesson(module, *batch(seed=seed)), added(apart, *batch(seed=seed)))
    assert module.members[0].stored == 3 * len(batch()[1])


def test_shares_are_the_mean_values_since_last_asked() -> None:
    module = build(ensembles.sum, [triplet, contrastive, proxy_nca], weights=(2.0, 0.0, 0.5))
    each = [torch.stack([member(*batch(seed=seed)) for member in module.members]) for seed in range(3)]
    for seed in range(3):
        module(*batch(seed=seed))
    first, second = torch.stack(each).mean(0).tolist()
    assert shares(module) == [
        Share((0,), pytest.approx(first), 2.0, None),
        Share((2,), pytest.approx(second), 0.5, None),
    ]
    assert all(math.isnan(share.value) for share in shares(module))
    module(*batch(seed=1))
    assert [share.value for share in shares(module)] == pytest.approx(each[1].tolist())


@pytest.mark.parametrize("kind", [kind for kind in OF_MANY if kind != "self_distillation"])
def test_shares_know_training_from_evaluation_and_are_no_state(kind: str) -> None:
    module = build(OF_MANY[kind], FOUR)
    keys = list(module.state_dict())
    module.eval()(*batch())
    assert all(math.isnan(share.value) for share in shares(module))
    module.train()(*batch())
    assert list(module.state_dict()) == keys
    found = shares(module)
    parts = batch()[0].chunk(4, 1) if kind in ("slices", "diverse_heads", "compressed_heads") else [batch()[0]] * 4
    values = [member(part, batch()[1]).item() for member, part in zip(module.members, parts, strict=True)]
    assert [share.value for share in found] == pytest.approx(values)
    assert {value.requires_grad for value in vars(module.members).values() if isinstance(value, Tensor)} <= {False}


def test_shares_of_a_loss_are_none() -> None:
    assert shares(contrastive(shape())) == []


WEIGHTS: dict[str, tuple[Ensemble, Callable[[nn.Module], Tensor | None]]] = {
    "weighted": (weighted, lambda module: module.simplex.c**2 + 1 / 16),
    "diverse_heads": (diverse_heads, lambda module: module.simplex.c**2 + 1 / 16),
    "compressed_heads": (compressed_heads, lambda module: module.heads.simplex.c**2 + 1 / 16),
    "uncertainty": (uncertainty, lambda module: 1 / (2 * module.log_variances.exp())),
    "gradient_norm": (gradient_norm, lambda module: 4 * module.logits.exp() / module.logits.exp().sum()),
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_shares_tell_the_learned_weights(kind: str) -> None:
    ensemble, expected = WEIGHTS[kind]
    module = build(ensemble, FOUR)
    adam = torch.optim.Adam(module.parameters(), lr=0.1)
    for seed in range(3):
        module(*batch(seed=seed)).backward()
        adam.step()
    found = [share.weight for share in shares(module)]
    assert len(set(found)) > 1
    assert found == pytest.approx(expected(module).tolist())


@pytest.mark.parametrize("ensemble", [weighted, diverse_heads, compressed_heads])
def test_shares_tell_the_running_means(ensemble: Ensemble) -> None:
    module = build(ensemble, FOUR)
    for seed in range(3):
        module(*batch(seed=seed))
    assert [share.running_mean for share in shares(module)] == pytest.approx([share.value for share in again(module)])


def again(module: nn.Module) -> list[Share]:
    """Its shares of the three batches once more: so far the running mean is the plain one."""
    for seed in range(3):
        module(*batch(seed=seed))
    return shares(module)


def test_gradients_without_conflict_have_no_weights() -> None:
    module = build(conflict_free, FOUR)
    module(*batch())
    assert {(share.weight, share.running_mean) for share in shares(module)} == {(None, None)}


def test_a_member_that_diverges_is_seen() -> None:
    module = build(ensembles.sum, [contrastive, lambda shape: Diverges()])
    module(*batch())
    first, second = shares(module)
    assert math.isfinite(first.value)
    assert math.isnan(second.value)


class Diverges(nn.Module):
    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return embeddings.sum() * torch.nan


def test_paths_count_in_the_lists_as_they_were_given() -> None:
    memory = partial(cross_batch_memory, members=[triplet], size=30)
    alone = partial(uncertainty, members=[partial(conflict_free, members=[proxy_nca])])
    heads = partial(compressed_heads, members=[contrastive, memory])
    module = build(ensembles.sum, [triplet, alone, heads, softmax], weights=(0.0, 1.0, 0.5, 0.0))
    module(*batch())
    found = {share.path: share for share in shares(module)}
    assert list(found) == [(1,), (1, 0), (1, 0, 0), (2,), (2, 0), (2, 1), (2, 1, 0)]
    assert [found[path].weight for path in ((1,), (1, 0), (1, 0, 0), (2,), (2, 1, 0))] == [1.0, 1.0, 1.0, 0.5, 1.0]
    assert found[1,].value == found[1, 0].value == found[1, 0, 0].value
    assert found[2, 1].value == found[2, 1, 0].value
    assert all(math.isfinite(share.value) for share in found.values())
