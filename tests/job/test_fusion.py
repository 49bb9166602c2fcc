"""Model ensembles: contracts of every one, and each against what it stands for, written out in full."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from bench.job import fusion
from bench.job.fusion import Stored
from bench.matrix.catalogue import check, entries, find
from bench.scoring.ranking import neighbours
from losses.shape import Unsuitable

PARAMETERS: dict[str, dict[str, Any]] = {"pca": {"dim": 6}}
"""What a fusion cannot do without."""
LEARNING = ["mean_similarity", "pca", "whitened"]
"""Those that need training images."""
AT_TEST_TIME = ["k_reciprocal", "query_expansion", "whitened"]
"""Those that change the order of one member alone."""
EVERY = [(name, entry.function()) for name, entry in entries("model_ensembles").items()]
Fusion = Callable[..., Stored | NDArray[np.int64]]

every = pytest.mark.parametrize(("name", "fuse"), EVERY, ids=[name for name, _ in EVERY])
gallery_or_none = pytest.mark.parametrize("with_gallery", [False, True], ids=["queries alone", "gallery"])


def images(rows: int, dim: int, *, seed: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(seed).normal(size=(rows, dim))).astype(np.float32)


def member(seed: int, dim: int, *, scale: float = 1.0, offset: float = 0.0, with_gallery: bool = True) -> Stored:
    """30 queries, 50 images of a gallery, 200 of training, of a length that says nothing and a direction in common."""
    parts = [images(rows, dim, seed=10 * seed + rows, scale=scale) + np.float32(offset) for rows in (30, 50, 200)]
    return Stored(parts[0], parts[1] if with_gallery else None, parts[2])


def members(*, with_gallery: bool = True) -> list[Stored]:
    shapes = [(4, 1.0, 0.0), (7, 100.0, 300.0), (5, 0.01, 0.01)]
    return [
        member(seed, dim, scale=scale, offset=offset, with_gallery=with_gallery)
        for seed, (dim, scale, offset) in enumerate(shapes)
    ]


def ordered(fused: Stored | NDArray[np.int64]) -> NDArray[np.int64]:
    """All candidates of every query, nearest first."""
    if not isinstance(fused, Stored):
        return fused
    gallery = None if fused.gallery is None else torch.tensor(fused.gallery)
    return neighbours(torch.tensor(fused.queries), gallery, depth=1000)


def unit(points: NDArray[np.floating]) -> NDArray[np.float64]:
    return points.astype(np.float64) / np.linalg.norm(points.astype(np.float64), axis=1, keepdims=True)


def squared(points: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    return ((points[:, None].astype(np.float64) - others.astype(np.float64)) ** 2).sum(2)


@every
@gallery_or_none
def test_the_outcome_is_embeddings_of_all_images_or_an_order(name: str, fuse: Fusion, with_gallery: bool) -> None:
    fused = fuse(members(with_gallery=with_gallery), **PARAMETERS.get(name, {}))
    if isinstance(fused, Stored):
        kept = [part for part in fused if part is not None]
        assert [len(part) for part in kept] == ([30, 50, 200] if with_gallery else [30, 200])
        assert all(part.dtype == np.float32 and np.isfinite(part).all() for part in kept)
        assert len({part.shape[1] for part in kept}) == 1
        assert name == "pca" or all(np.linalg.norm(part, axis=1) == pytest.approx(1, rel=1e-6) for part in kept)
    else:
        assert fused.dtype == np.int64
        everyone = [set(range(50)) if with_gallery else set(range(30)) - {query} for query in range(30)]
        assert [set(row) for row in fused.tolist()] == everyone
        assert fused.shape == (30, 50 if with_gallery else 29)


@every
@gallery_or_none
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_one_member_alone_is_ordered_as_it_is(name: str, fuse: Fusion, with_gallery: bool, scale: float) -> None:
    """But for what is done at test time, to which directions alone count."""
    alone = member(3, 6, scale=scale, offset=scale, with_gallery=with_gallery)
    found = ordered(fuse([alone], **PARAMETERS.get(name, {})))
    assert np.array_equal(found, ordered(alone)) == (name not in AT_TEST_TIME)
    if name in AT_TEST_TIME:
        directions = Stored(*(None if part is None else unit(part).astype(np.float32) for part in alone))  # type: ignore[arg-type]
        assert np.array_equal(found, ordered(fuse([directions], **PARAMETERS.get(name, {}))))


@every
def test_queries_are_fused_each_on_its_own_and_left_alone(name: str, fuse: Fusion) -> None:
    """So nothing is learned from them; and what is learned does not depend on the order of the training images."""
    some, order = np.random.default_rng(1).permutation(30)[:12], np.random.default_rng(2).permutation(200)
    parts = [Stored(one.queries[some], one.gallery, one.training[order]) for one in members()]  # type: ignore[index]
    for part in (part for one in parts for part in one if part is not None):
        part.flags.writeable = False
    whole, part = (fuse(given, **PARAMETERS.get(name, {})) for given in (members(), parts))
    if isinstance(whole, Stored) and isinstance(part, Stored):
        np.testing.assert_allclose(part.queries, whole.queries[some], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(part.gallery, whole.gallery, rtol=1e-5, atol=1e-6)
    else:
        assert np.array_equal(part, whole[some])


@every
@gallery_or_none
def test_the_order_of_the_members_does_not_show(name: str, fuse: Fusion, with_gallery: bool) -> None:
    given = members(with_gallery=with_gallery)
    forth, back = (fuse(one, **PARAMETERS.get(name, {})) for one in (given, given[::-1]))
    assert np.array_equal(ordered(forth), ordered(back))


@every
def test_members_that_do_not_fit_are_named(name: str, fuse: Fusion) -> None:
    first, second, _ = members()
    changes: list[tuple[str, dict[str, Any]]] = [
        ("29, 30. queries", {"queries": first.queries[1:]}),
        ("0, 50. gallery", {"gallery": None}),
        ("30, 50. gallery", {"gallery": first.queries}),
        ("30, 200. training", {"training": first.queries}),
    ]
    for message, change in changes:
        other = second._replace(**change)
        with pytest.raises(ValueError, match=rf"same images, not of .{message}"):
            fuse([first, other], **PARAMETERS.get(name, {}))
    with pytest.raises(ValueError, match="same images"):
        fuse([], **PARAMETERS.get(name, {}))


@every
@pytest.mark.parametrize("count", [1, 3])
def test_those_that_learn_ask_for_training_images_and_others_do_without(name: str, fuse: Fusion, count: int) -> None:
    given = members()[:count]
    given[-1] = given[-1]._replace(training=None)
    if name in LEARNING:
        with pytest.raises(Unsuitable, match=f"member {count} of {count} has no training embeddings.* run it again"):
            fuse(given, **PARAMETERS.get(name, {}))
        return
    fused = fuse(given, **PARAMETERS.get(name, {}))
    assert np.array_equal(ordered(fused), ordered(fuse(members()[:count], **PARAMETERS.get(name, {}))))
    assert not isinstance(fused, Stored) or fused.training is None


@every
def test_a_row_of_zeros_stays_zero(name: str, fuse: Fusion) -> None:
    given = members()
    for one in given:
        one.queries[3] = 0
    fused = fuse(given, **PARAMETERS.get(name, {}))
    if isinstance(fused, Stored):
        assert np.flatnonzero(~fused.queries.any(1)).tolist() == [3]
    else:
        assert sorted(fused[3]) == list(range(50))


@gallery_or_none
def test_squared_distances_of_a_concatenation_are_the_mean_of_the_members(with_gallery: bool) -> None:
    given = members(with_gallery=with_gallery)
    fused = fusion.concatenate(given)
    assert fused.queries.shape == (30, 16)
    for part, theirs in zip(fused, zip(*given, strict=True), strict=True):
        if part is not None:
            mean = np.mean([squared(unit(one), unit(one)) for one in theirs], axis=0)
            np.testing.assert_allclose(squared(part, part), mean, atol=1e-6)


def explicit_mean(given: list[Stored]) -> NDArray[np.float64]:
    """[Q, N]: cosine similarities of each member over their standard deviation among training images, averaged."""
    total = np.zeros((30, 50))
    for one in given:
        pairs = unit(one.training) @ unit(one.training).T  # type: ignore[arg-type]
        spread = pairs[~np.eye(len(pairs), dtype=bool)].std()
        total += unit(one.queries) @ unit(one.gallery).T / spread / len(given)  # type: ignore[arg-type]
    return total


@pytest.mark.parametrize("offset", [0.0, 1.0, 10.0, 100.0])
def test_mean_similarity_is_that_of_the_matrices_written_out(offset: float) -> None:
    """Whatever the spread of a member: at an offset of 100 its similarities vary by 4e-5."""
    given = [*members(), member(7, 8, offset=offset)]
    expected = explicit_mean(given)
    fused = fusion.mean_similarity(given)
    inner = fused.queries.astype(np.float64) @ fused.gallery.T  # type: ignore[union-attr]
    slope, constant = np.polyfit(expected.ravel(), inner.ravel(), 1)
    np.testing.assert_allclose(inner, slope * expected + constant, atol=1e-6 * np.ptp(inner) + 1e-7)
    assert constant == pytest.approx(0, abs=1e-5)
    assert np.array_equal(ordered(fused)[:, :5], np.argsort(-expected, axis=1)[:, :5])


def test_without_the_spread_it_would_be_a_concatenation() -> None:
    """Members of one spread, here of one distribution, are ordered by both alike; those of several are not."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    one, other = member(1, 8), member(2, 8)
    alike = Stored(other.queries, other.gallery, (one.training @ rotation).astype(np.float32))  # type: ignore[operator]
    assert np.array_equal(ordered(fusion.mean_similarity([one, alike])), ordered(fusion.concatenate([one, alike])))
    apart = [one, member(2, 8, offset=3)]
    assert not np.array_equal(ordered(fusion.mean_similarity(apart)), ordered(fusion.concatenate(apart)))


@pytest.mark.parametrize("rows", [3, 50])
@pytest.mark.parametrize("offset", [0.0, 3.0, 300.0])
def test_the_spread_is_that_of_all_pairs(rows: int, offset: float) -> None:
    points = unit(images(rows, 6, seed=rows) + offset)
    points[-1] *= rows != 3  # with a row of zeros
    pairs = points @ points.T
    expected = pairs[~np.eye(rows, dtype=bool)].std()
    # Written out, the inner products themselves have lost what is below 1e-16.
    assert fusion._spread(points) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def collapsed(noise: float) -> Stored:
    """All images in one place, but for what rounding leaves: told apart by chance alone, on any side."""
    place = images(1, 8, seed=5)
    return Stored(*(place + images(rows, 8, seed=rows, scale=noise) for rows in (30, 50, 10_000)))


@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-6])
def test_a_member_whose_similarities_do_not_vary_has_no_say(noise: float) -> None:
    long = [one._replace(training=images(10_000, 5, seed=i)) for i, one in enumerate((member(1, 5), member(2, 5)))]
    fused = fusion.mean_similarity([long[0], collapsed(noise), long[1]])
    expected = fusion.mean_similarity(long)
    assert all(np.array_equal(part, other) for part, other in zip(fused, expected, strict=True))
    few = [[one._replace(training=one.training[:rows]) for one in long] for rows in (1, 2)]
    for given in ([collapsed(noise), collapsed(noise)], *few):
        with pytest.raises(Unsuitable, match="no member's similarities vary over the training images"):
            fusion.mean_similarity(given)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("dim", [1, 3, 4])
def test_pca_is_that_of_scikit_learn(count: int, dim: int) -> None:
    """With its signs, the largest entry of each component positive; but the mean is not subtracted."""
    given = members()[:count]
    whole, reduced = fusion.concatenate(given), fusion.pca(given, dim=dim)
    peer = PCA(dim, svd_solver="full").fit(np.asarray(whole.training, np.float64))
    for part, theirs in zip(reduced, whole, strict=True):
        expected = peer.transform(np.asarray(theirs, np.float64)) - peer.transform(np.zeros((1, peer.n_features_in_)))
        np.testing.assert_allclose(part, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_all_components_keep_every_distance(count: int) -> None:
    given = members()[:count]
    whole = fusion.concatenate(given)
    reduced = fusion.pca(given, dim=whole.queries.shape[1])
    expected = squared(whole.queries, whole.gallery)  # type: ignore[arg-type]
    np.testing.assert_allclose(squared(reduced.queries, reduced.gallery), expected, atol=1e-5)  # type: ignore[arg-type]


def test_more_components_than_the_members_are_wide_are_a_wrong_value() -> None:
    with pytest.raises(ValueError, match="dim = 17 is more than the 16 dimensions of the members") as error:
        fusion.pca(members(), dim=17)
    assert not isinstance(error.value, Unsuitable)


@pytest.mark.parametrize("rows", [10, 1])
def test_a_dataset_too_small_for_the_components_does_not_suit(rows: int) -> None:
    given = [one._replace(training=one.training[:rows]) for one in members()]  # type: ignore[index]
    with pytest.raises(Unsuitable, match=f"{rows} training images are too few to find dim = {rows} directions"):
        fusion.pca(given, dim=rows)


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        *(("pca", "dim", 0), ("rank_fusion", "k", -1), ("rank_fusion", "depth", 0), ("whitened", "dim", 0)),
        *(("query_expansion", "k", 0), ("query_expansion", "alpha", -1), ("query_expansion", "depth", 0)),
        *(("query_expansion", "k", 2.5), ("query_expansion", "alpha", float("nan")), ("k_reciprocal", "k1", 0)),
        *(("k_reciprocal", "k2", 0), ("k_reciprocal", "distance_weight", 1.1), ("k_reciprocal", "depth", 0)),
        *(("k_reciprocal", "distance_weight", -0.1), ("k_reciprocal", "k1", "50")),
    ],
)
def test_parameters_out_of_bounds_are_refused(name: str, parameter: str, value: Any) -> None:
    with pytest.raises(ValueError, match=parameter):
        check(find("model_ensembles", name), {parameter: value})


def dictionaries(given: list[Stored], k: float, depth: int) -> list[list[int]]:
    """Reciprocal rank fusion, one query after the other, in fractions, which are never rounded."""
    found = [ordered(one)[:, :depth].tolist() for one in given]
    fused = []
    for query in range(len(found[0])):
        scores: dict[int, Fraction] = {}
        for order in found:
            for rank, candidate in enumerate(order[query], 1):
                scores[candidate] = scores.get(candidate, Fraction(0)) + 1 / (Fraction(k) + rank)
        fused.append(sorted(scores, key=lambda candidate: (-scores[candidate], candidate))[:depth])
    return fused


@gallery_or_none
@pytest.mark.parametrize("k", [0, 0.5, 60, 1e6])
@pytest.mark.parametrize("depth", [1, 3, 12, 29, 1000])
def test_rank_fusion_is_that_of_dictionaries(with_gallery: bool, k: float, depth: int) -> None:
    """With k = 0 many sums of other ranks are equal on paper: 1/3 + 1/6 = 1/4 + 1/4."""
    given = members(with_gallery=with_gallery)
    assert fusion.rank_fusion(given, k=k, depth=depth).tolist() == dictionaries(given, k, depth)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_equal_sums_go_to_the_lower_index(count: int) -> None:
    """Members that agree but for who comes where: every candidate takes every rank once, so all are equal."""
    line = np.arange(count, dtype=np.float32)[:, None] + 1
    given = [Stored(np.zeros((1, 1), np.float32), np.roll(line, turn, axis=0), None) for turn in range(count)]
    assert fusion.rank_fusion(given, k=0.1)[0].tolist() == list(range(count))


def test_rank_fusion_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [Stored(images(1500, 8, seed=seed), None, None) for seed in range(3)]
    whole = fusion.rank_fusion(given, depth=20)
    assert whole[:40].tolist() == dictionaries(given, 60, 20)[:40]
    monkeypatch.setattr(fusion, "CELLS", 7 * 1500)
    assert np.array_equal(fusion.rank_fusion(given, depth=20), whole)
