"""What is done at test time, each against its definition in plain loops, and what must not change it."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from support.jobs import BACKBONE, DATASET, RECIPE

import bench
from bench.analysis.board_answer import answer
from bench.analysis.boards import boards
from bench.job import fusion_k_reciprocal
from bench.job.fusion import Stored
from bench.job.fusion_k_reciprocal import k_reciprocal
from bench.job.fusion_query_expansion import query_expansion
from bench.job.fusion_whitening import whitened
from bench.matrix.file import Matrix
from losses.shape import Unsuitable

Points = NDArray[np.float64]


def groups(rows: int, dim: int, *, seed: int) -> NDArray[np.float32]:
    """Six groups of images that overlap; the first three are one image, and row 5 is all zeros."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(dim).normal(size=(6, dim))
    points = centres[np.arange(rows) % 6] + 0.7 * random.normal(size=(rows, dim))
    points[1] = points[2] = points[0]
    points[5] = 0
    return points.astype(np.float32)


def stored(count: int, *, with_gallery: bool) -> list[Stored]:
    """40 queries, and a gallery of 55 in which the first six queries stand again."""
    members = []
    for seed in range(count):
        queries, gallery = groups(40, 4 + seed, seed=seed), groups(55, 4 + seed, seed=100 + seed)
        gallery[10:16] = queries[:6]
        members.append(Stored(queries, gallery if with_gallery else None, groups(90, 4 + seed, seed=200 + seed)))
    return members


def unit(points: Points) -> Points:
    return np.array([row / math.sqrt(sum(row * row)) if row.any() else row for row in points.astype(np.float64)])


def together(members: list[Stored], part: str) -> Points:
    """As the fusions see them: in single precision."""
    whole = unit(np.concatenate([unit(getattr(one, part)) for one in members], axis=1))
    return whole.astype(np.float32).astype(np.float64)


def square(one: Points, other: Points) -> float:
    return float(((one - other) ** 2).sum())


def nearest(query: Points, pool: Points, left_out: int | None) -> list[int]:
    """All candidates, nearest first, ties by lower index."""
    found = ((pool - query) ** 2).sum(axis=1).tolist()
    return sorted((g for g in range(len(pool)) if g != left_out), key=lambda g: (found[g], g))


def sides(members: list[Stored]) -> tuple[Points, Points, bool]:
    alone = members[0].gallery is None
    queries = together(members, "queries")
    return queries, queries if alone else together(members, "gallery"), alone


gallery_or_none = pytest.mark.parametrize("with_gallery", [False, True], ids=["queries alone", "gallery"])
counts = pytest.mark.parametrize("count", [1, 3])


def expanded_in_loops(members: list[Stored], k: int, alpha: float, depth: int) -> list[list[int]]:
    queries, pool, alone = sides(members)
    orders = []
    for at, query in enumerate(queries):
        new = query.copy()
        for index in nearest(query, pool, at if alone else None)[:k]:
            similarity = max(sum(query * pool[index]), 0.0)
            new = new + similarity**alpha * pool[index]
        new = unit(new[None]).astype(np.float32)[0].astype(np.float64) if query.any() else query
        orders.append(nearest(new, pool, at if alone else None)[:depth])
    return orders


@counts
@gallery_or_none
@pytest.mark.parametrize(("k", "alpha"), [(1, 3.0), (7, 0.0), (7, 2.5), (500, 3.0)])
@pytest.mark.parametrize("depth", [12, 1000])
def test_query_expansion_is_that_of_loops(count: int, with_gallery: bool, k: int, alpha: float, depth: int) -> None:
    members = stored(count, with_gallery=with_gallery)
    found = query_expansion(members, k=k, alpha=alpha, depth=depth)
    assert found.shape == (40, min(depth, 55 if with_gallery else 39))
    assert found.tolist() == expanded_in_loops(members, k, alpha, depth)


def test_a_query_of_zeros_is_not_expanded() -> None:
    """Its similarities are all 0, and to the power of 0 they would be 1: then it would find what is near their sum."""
    members = stored(1, with_gallery=True)
    (order,) = query_expansion([members[0]._replace(queries=members[0].queries[5:6])], alpha=0.0)
    assert order[:2].tolist() == [5, 15]  # the zeros of the gallery
    assert order[2:].tolist() == nearest(np.zeros(4), sides(members)[1], None)[2:]


def test_only_the_query_is_expanded() -> None:
    """The query at 0° takes in the image at 40° and then is nearer to 70° than to -60°; their own places stay."""
    angles = np.deg2rad([0, 40, 70, -60])
    points = np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32)
    before = query_expansion([Stored(points[:1], points[1:], None)], k=1, alpha=100.0)
    after = query_expansion([Stored(points[:1], points[1:], None)], k=1, alpha=0.0)
    assert (before.tolist(), after.tolist()) == ([[0, 2, 1]], [[0, 1, 2]])


class Equations:
    """Zhong et al., one image after the other, on whole matrices."""

    def __init__(self, members: list[Stored], k1: int, k2: int) -> None:
        self.queries, self.pool, self.alone = sides(members)
        self.k1, self.k2 = k1, k2
        self.lists = [nearest(image, self.pool, at) for at, image in enumerate(self.pool)]
        self.raw = [self.weights(image, self.grown(self.mutual(at, k1))) for at, image in enumerate(self.pool)]
        self.averaged = [self.mean(raw, others) for raw, others in zip(self.raw, self.lists, strict=True)]

    def near(self, at: int, k: int) -> list[int]:
        return [at, *self.lists[at][:k]]

    def mutual(self, at: int, k: int) -> set[int]:
        return {g for g in self.near(at, k) if at in self.near(g, k)}

    def far(self, image: Points) -> float:
        return float(((self.pool - image) ** 2).sum(axis=1).max()) or 1.0

    def grown(self, mutual: set[int]) -> set[int]:
        found = set(mutual)
        for q in mutual:
            half = self.mutual(q, self.k1 // 2)
            if len(half & mutual) >= 2 / 3 * len(half) - 1e-9:
                found |= half
        return found

    def weights(self, image: Points, members: set[int]) -> Points:
        values = np.zeros(len(self.pool))
        for g in members:
            values[g] = math.exp(-square(image, self.pool[g]) / self.far(image))
        return values

    def mean(self, own: Points, others: list[int]) -> Points:
        every = [own, *(self.raw[g] for g in others[: self.k2 - 1])]
        return np.mean(every, axis=0)

    def of_query(self, at: int) -> tuple[Points, list[int]]:
        """V of a query, and its candidates, nearest first."""
        if self.alone:
            return self.averaged[at], self.lists[at]
        image = self.queries[at]
        others = nearest(image, self.pool, None)
        mutual = {g for g in others[: self.k1] if self.takes(g, image)}
        return self.mean(self.weights(image, self.grown(mutual)), others), others

    def takes(self, g: int, image: Points) -> bool:
        """Whether the query would be among the k1 nearest of g, first among equals."""
        nearer = [o for o in self.lists[g] if square(self.pool[g], self.pool[o]) < square(self.pool[g], image)]
        return len(nearer) < self.k1

    def order(self, weight: float, depth: int) -> Iterator[list[int]]:
        for at, image in enumerate(self.queries):
            own, others = self.of_query(at)
            final = {}
            for g in others[:depth]:
                least, most = np.minimum(own, self.averaged[g]).sum(), np.maximum(own, self.averaged[g]).sum()
                distance = square(image, self.pool[g]) / self.far(image)
                final[g] = round(2**40 * ((1 - weight) * (1 - least / most) + weight * distance))
            yield sorted(final, key=lambda g: (final[g], g))


@counts
@gallery_or_none
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (8, 4), (9, 12), (500, 500)])
def test_k_reciprocal_is_that_of_the_equations(count: int, with_gallery: bool, k1: int, k2: int) -> None:
    members = stored(count, with_gallery=with_gallery)
    equations = Equations(members, k1, k2)
    for weight, depth in ((0.94, 1000), (0.3, 12), (0.0, 25), (1.0, 7)):
        found = k_reciprocal(members, k1=k1, k2=k2, distance_weight=weight, depth=depth)
        assert found.shape == (40, min(depth, 55 if with_gallery else 39))
        assert found.tolist() == list(equations.order(weight, depth))


@gallery_or_none
def test_the_weight_is_that_of_the_original_distance(with_gallery: bool) -> None:
    """d* = (1 - λ) d_J + λ d: with λ = 1 the order stays, with λ = 0 it does not."""
    members = stored(2, with_gallery=with_gallery)
    queries, pool, alone = sides(members)
    plain = [nearest(query, pool, at if alone else None) for at, query in enumerate(queries)]
    assert k_reciprocal(members, distance_weight=1.0).tolist() == plain
    assert k_reciprocal(members, k1=8, k2=3, distance_weight=0.0).tolist() != plain


@gallery_or_none
def test_pieces_do_not_show(with_gallery: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    members = stored(2, with_gallery=with_gallery)
    whole = k_reciprocal(members, k1=8, k2=4)
    monkeypatch.setattr(fusion_k_reciprocal, "ROWS", 7)
    assert np.array_equal(k_reciprocal(members, k1=8, k2=4), whole)


@pytest.mark.parametrize("search", [k_reciprocal, query_expansion])
@pytest.mark.parametrize("fill", [0.0, 1.0])
@gallery_or_none
def test_images_that_are_all_the_same_are_ordered_by_index(search: object, fill: float, with_gallery: bool) -> None:
    alike = np.full((6, 3), fill, np.float32)
    found = search([Stored(alike, alike if with_gallery else None, None)])  # type: ignore[operator]
    assert found.tolist() == [[g for g in range(6) if with_gallery or g != at] for at in range(6)]


@pytest.mark.parametrize("search", [k_reciprocal, query_expansion])
@pytest.mark.parametrize("gallery", [1, 2])
def test_the_smallest_galleries_are_searched(search: object, gallery: int) -> None:
    points = groups(8, 3, seed=0)
    found = search([Stored(points, points[-gallery:], None)])  # type: ignore[operator]
    assert [sorted(row) for row in found.tolist()] == [list(range(gallery))] * 8


@counts
@gallery_or_none
@pytest.mark.parametrize("dim", [None, 1, 3])
def test_whitening_is_that_of_scikit_learn_on_the_sphere(count: int, with_gallery: bool, dim: int | None) -> None:
    members = stored(count, with_gallery=with_gallery)
    found, training = whitened(members, dim=dim), together(members, "training")
    peer = PCA(dim, whiten=True, svd_solver="full").fit(training)
    for part in ("queries", "gallery", "training"):
        if part != "gallery" or with_gallery:
            rows = together(members, part)
            expected = unit(peer.transform(rows)) * rows.any(axis=1, keepdims=True)
            ours = getattr(found, part)
            np.testing.assert_allclose(ours @ ours.T, expected @ expected.T, atol=2e-5)
    assert (found.gallery is None) == (not with_gallery)
    assert not found.queries[5].any()


def test_directions_without_variance_are_left_out() -> None:
    """A member that says the same of all images, and one that is there twice."""
    (one, other) = stored(2, with_gallery=True)
    same = Stored(*(np.ones((len(part), 2), np.float32) for part in one if part is not None))
    found, expected = (whitened(given) for given in ([one, same, other, one], [one, other, one]))
    assert whitened([one, one]).queries.shape == whitened([one]).queries.shape == (40, 4)
    assert found.queries.shape[1] <= 10 < 15
    assert expected.queries.shape[1] <= 9


@pytest.mark.parametrize(
    ("rows", "dim", "sentence"),
    [
        (4, None, "4 training images are too few to whiten 4 dimensions: set dim below 4"),
        (3, 3, "3 training images are too few to find dim = 3 directions: lower it"),
        (1, 1, "1 training images are too few"),
    ],
)
def test_too_few_training_images_do_not_suit(rows: int, dim: int | None, sentence: str) -> None:
    (one,) = stored(1, with_gallery=False)
    with pytest.raises(Unsuitable, match=sentence):
        whitened([one._replace(training=one.training[:rows])], dim=dim)  # type: ignore[index]


def test_too_many_directions_are_refused() -> None:
    (one,) = stored(1, with_gallery=False)
    with pytest.raises(ValueError, match="dim = 5 is more than the 4 dimensions of the members: lower it") as error:
        whitened([one], dim=5)
    assert not isinstance(error.value, Unsuitable)
    flat = np.column_stack([groups(90, 2, seed=1), np.zeros((90, 2), np.float32)])
    with pytest.raises(Unsuitable, match="the 90 training images vary in 2 directions only: lower dim"):
        whitened([one._replace(training=flat)], dim=3)
    with pytest.raises(Unsuitable, match="the 90 training images vary in no direction: train the members anew"):
        whitened([one._replace(training=np.ones((90, 4), np.float32))])


@pytest.mark.usefixtures("no_workers")
def test_a_trained_model_is_searched_in_other_ways_beside_its_plain_line(tmp_path):
    """All of it real: trained, stored, searched again, ranked and reported."""
    ways = [{"name": name, "members": ["triplet"]} for name in ("query_expansion", "k_reciprocal")]
    ways.append({"name": "whitened", "members": ["triplet"], "dim": 8})
    matrix = Matrix.model_validate(
        {
            "datasets": [DATASET], "backbones": [BACKBONE], "losses": ["triplet"], "model_ensembles": ways,
            "recipe": RECIPE, "seeds": 2, "controls": False,
        }
    )  # fmt: skip
    list(bench.run(matrix, results=tmp_path, workers=1))
    rows = bench.load(tmp_path)
    assert rows["status"].tolist() == ["done"] * 8, rows["reason"].tolist()
    kinds = dict(zip(rows["objective"], rows["kind"], strict=True))
    assert kinds["k_reciprocal[triplet]"] == "model_ensemble"
    (board,) = boards(rows)
    assert "no ensembles" in " ".join(answer(board))
