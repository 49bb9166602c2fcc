"""Neighbours against a brute-force sort, and what must not show in them: search, chunks, threads, offsets, device."""

from collections.abc import Callable

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from support.brute_force import hyperbolic, hyperbolic_order, order
from torch import Tensor

from bench.scoring import exact_search, geometry, ranking
from bench.scoring.ranking import blocks, neighbours, rank, rank_order

Points = Callable[..., Tensor]


def cloud(n: int = 300, *, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def grid(n: int = 300, *, dim: int = 3, seed: int = 0) -> Tensor:
    """Points of a small integer grid: many duplicates, many ties, all distances exact."""
    return torch.randint(0, 4, (n, dim), generator=torch.Generator().manual_seed(seed)).float()


def clusters(n: int = 300, *, dim: int = 8, seed: int = 0) -> Tensor:
    """A few tight clusters far from each other: within them single precision sees nothing but its own rounding."""
    return 100 * cloud(7, dim=dim, seed=99)[torch.arange(n) % 7] + 1e-4 * cloud(n, dim=dim, seed=seed)


def copies(n: int = 300, *, dim: int = 8, seed: int = 0) -> Tensor:
    """Every vector about forty times over: ties go on past any cut."""
    return cloud(max(1, n // 40), dim=dim)[labels_of(n, max(1, n // 40), seed=seed)]


def signs(n: int = 300, *, dim: int = 12, seed: int = 0) -> Tensor:
    """Codes of length 1: many ties between different vectors, of distances that single precision cannot hold."""
    return cloud(n, dim=dim, seed=seed).sign() / dim**0.5


KINDS = [cloud, grid, clusters, copies, signs]


def labels_of(n: int, classes: int = 20, *, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, n)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search even among few candidates, as among many."""
    monkeypatch.setattr(exact_search, "SMALL", 0)


def by_torch(queries: Tensor, pool: Tensor, width: int) -> tuple[Tensor, Tensor]:
    best = exact_search._squares_to_all(queries, pool).topk(width, largest=False)
    return best.values, best.indices


def as_bad_as_can_be(queries: Tensor, pool: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Every squared distance off by up to the slack, and ties in any order."""
    exact = torch.cdist(queries.double(), pool.double(), compute_mode="donot_use_mm_for_euclid_dist").square()
    random = torch.rand(exact.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = (exact + 0.99 * geometry._slack(queries, pool) * (2 * random - 1)).float().topk(width, largest=False)
    return best.values, best.indices


@pytest.fixture(params=[None, by_torch, as_bad_as_can_be], ids=["faiss", "torch", "worst"])
def proposed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to propose candidates, and the worst."""
    if request.param:
        monkeypatch.setattr(exact_search, "_search", request.param)


@pytest.mark.parametrize("points", KINDS)
@pytest.mark.parametrize("with_gallery", [False, True])
def test_few_candidates_are_ordered_exactly(points: Points, with_gallery: bool) -> None:
    queries, gallery = points(), points(120, seed=1) if with_gallery else None
    found = neighbours(queries, gallery, depth=1000)
    assert np.array_equal(found, order(queries, gallery))


@pytest.mark.usefixtures("searched", "proposed")
@pytest.mark.parametrize("points", KINDS)
@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 130])
def test_searched_candidates_are_ordered_as_by_order(points: Points, with_gallery: bool, depth: int) -> None:
    queries, gallery = points(), points(250, seed=1) if with_gallery else None
    found = neighbours(queries, gallery, depth=depth)
    assert np.array_equal(found, order(queries, gallery)[:, :depth])


@pytest.mark.usefixtures("searched", "proposed")
@pytest.mark.parametrize("points", KINDS)
@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize(("classes", "depth"), [(60, 1), (60, 40), (5, 1), (2, 20), (2, 299)])
def test_what_is_relevant_stands_where_brute_force_puts_it(
    points: Points, with_gallery: bool, classes: int, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although order is exact around relevant candidates alone; with few classes R goes far beyond the depth."""
    monkeypatch.setattr(ranking, "CHUNK", 77)
    queries, labels = points(), labels_of(300, classes)
    gallery, others = (points(250, seed=1), labels_of(250, classes, seed=1)) if with_gallery else (None, None)
    made = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=depth)
    relevant = (labels if others is None else others)[order(queries, gallery)] == labels[:, None]
    assert made.relevant.shape[1] == min(max(depth, relevant.sum(1).max()), relevant.shape[1])
    assert np.array_equal(made.relevant, relevant[:, : made.relevant.shape[1]])
    nearest = order(queries, gallery)[:, :10]
    assert np.array_equal(made.nearest.indices, nearest)
    pool = (queries if gallery is None else gallery).double()
    exact = ((queries.double()[:, None] - pool[nearest]) ** 2).sum(2).sqrt().numpy()
    np.testing.assert_allclose(made.nearest.distances, exact, rtol=1e-7, atol=0)


def in_ball(points: Tensor) -> Tensor:
    """The same directions inside the ball of radius 1, the farthest next to its edge."""
    return 0.999 * points / max(1e-9, float(points.norm(dim=1).max()))


@pytest.mark.usefixtures("searched", "proposed")
@pytest.mark.parametrize("points", [cloud, clusters, copies])
@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 20, 130])
def test_hyperbolic_neighbours_are_those_of_brute_force(
    points: Points, with_gallery: bool, depth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "CHUNK", 77)
    queries, gallery = in_ball(points()), in_ball(points(250, seed=1)) if with_gallery else None
    expected = hyperbolic_order(queries, gallery)
    found = neighbours(queries, gallery, depth=depth, distance="hyperbolic")
    assert np.array_equal(found, expected[:, :depth])
    labels, others = labels_of(300), labels_of(250, seed=1) if with_gallery else None
    made = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=depth, distance="hyperbolic")
    relevant = (labels if others is None else others)[expected] == labels[:, None]
    assert np.array_equal(made.relevant, relevant[:, : made.relevant.shape[1]])
    assert np.array_equal(made.nearest.indices, expected[:, :10])
    exact = np.take_along_axis(hyperbolic(queries, gallery), expected[:, :10], 1).astype(np.float64)
    np.testing.assert_allclose(made.nearest.distances, exact, rtol=1e-6, atol=1e-7)


def test_hyperbolic_order_is_not_euclidean_order() -> None:
    points = in_ball(cloud())
    assert not np.array_equal(neighbours(points, depth=5, distance="hyperbolic"), neighbours(points, depth=5))


def test_equal_hyperbolic_distances_are_ordered_by_index() -> None:
    """On a grid of whole sixteenths all steps but the last are exact."""
    points = (grid() - 2) / 16
    assert np.array_equal(neighbours(points, depth=299, distance="hyperbolic"), hyperbolic_order(points))


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 100, 1000])
def test_many_candidates_are_ordered_as_by_order(with_gallery: bool, depth: int) -> None:
    queries, gallery = (1000 * cloud(n, seed=n) for n in (1300, 1800))
    gallery = gallery if with_gallery else None
    found = neighbours(queries, gallery, depth=depth, chunk=500)
    assert np.array_equal(found, order(queries, gallery)[:, :depth])


@pytest.mark.usefixtures("proposed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_offset_does_not_cost_digits(dtype: torch.dtype) -> None:
    points = cloud(3000, dim=64).to(dtype) + 30_000
    found = neighbours(points[:100], points, depth=20)
    assert np.array_equal(found, order(points[:100], points)[:, :20])


@pytest.mark.usefixtures("searched", "proposed")
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e15])
def test_neither_small_nor_large_numbers_cost_digits(scale: float) -> None:
    points = scale * cloud(200)
    assert np.array_equal(neighbours(points, depth=20), order(points, None)[:, :20])


@pytest.mark.parametrize("way", [exact_search._search, by_torch])
@pytest.mark.parametrize("points", KINDS)
@pytest.mark.parametrize("dim", [3, 64, 512])
def test_single_precision_is_off_by_no_more_than_the_slack(way: Points, points: Points, dim: int) -> None:
    space = geometry.search_space(
        points(100, dim=dim).double() * 1.1 + 5, points(400, dim=dim, seed=1).double() * 1.1 + 5
    )
    near, found = way(space.wanted, space.offered, 400)
    row = torch.arange(100).repeat_interleave(400)
    exact = geometry.exact_squares(space.queries, space.pool, row, found.flatten()).view(100, 400)
    assert ((near - exact).abs() <= space.slack).all()
    assert (space.slack < 1e-3 * (space.offered.norm(dim=1).max() + space.wanted.norm(dim=1)[:, None]) ** 2).all()


@pytest.mark.parametrize("dim", [1, 2, 7, 64, 513])
def test_exact_squares_are_those_of_double_precision(dim: int) -> None:
    queries, pool = cloud(50, dim=dim), cloud(60, dim=dim, seed=1)
    row, index = torch.arange(50).repeat_interleave(60), torch.arange(60).repeat(50)
    expected = ((queries.double()[:, None] - pool.double()) ** 2).sum(2).flatten()
    found = geometry.exact_squares(queries, pool, row, index)
    assert torch.allclose(found, expected, rtol=1e-14, atol=0)
    one_by_one = [geometry.exact_squares(queries, pool, row[i, None], index[i, None]) for i in range(0, 3000, 97)]
    assert torch.equal(torch.cat(one_by_one), found[::97])


@pytest.mark.usefixtures("searched")
def test_the_query_is_left_out_by_index_among_its_duplicates() -> None:
    points = torch.zeros(300, 4)
    found = neighbours(points, depth=3)
    assert not (found == np.arange(300)[:, None]).any()
    assert np.array_equal(found, order(points, None)[:, :3])


def test_how_the_rows_are_cut_depends_on_their_number_alone() -> None:
    """So that several models can be searched side by side."""
    pieces = [list(blocks(cloud(3000, dim=dim, seed=dim), depth=40, chunk=700)) for dim in (2, 64)]
    assert [rows for rows, _ in pieces[0]] == [rows for rows, _ in pieces[1]]
    assert all(rows.stop - rows.start <= 700 for rows, _ in pieces[0])
    whole = neighbours(cloud(3000, dim=64, seed=64), depth=40)
    assert np.array_equal(np.concatenate([found for _, found in pieces[1]]), whole)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("points", KINDS)
def test_the_size_of_a_chunk_does_not_show(points: Points) -> None:
    queries, gallery = points(400, dim=48), points(3000, dim=48, seed=1)
    whole = neighbours(queries, gallery, depth=9)
    assert all(np.array_equal(neighbours(queries, gallery, depth=9, chunk=size), whole) for size in (1, 7, 64, 399))


@pytest.mark.usefixtures("searched")
def test_the_number_of_threads_does_not_show() -> None:
    import faiss

    points, before = cloud(2000, dim=64), (faiss.omp_get_max_threads(), torch.get_num_threads())
    found = []
    for threads in (1, 2):
        faiss.omp_set_num_threads(threads)
        torch.set_num_threads(threads)
        found.append(neighbours(points, depth=9))
    faiss.omp_set_num_threads(before[0])
    torch.set_num_threads(before[1])
    assert np.array_equal(*found)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_ranking_says_what_is_relevant(with_gallery: bool) -> None:
    queries, labels = cloud(60), labels_of(60)
    gallery, others = (cloud(90, seed=1), labels_of(90, seed=1)) if with_gallery else (None, labels)
    made = rank(queries, labels, gallery=gallery, gallery_labels=others if with_gallery else None, depth=5)
    relevant = others[order(queries, gallery)] == labels[:, None]
    assert made.candidates == relevant.shape[1]
    assert np.array_equal(made.n_relevant, relevant.sum(1))
    depth = max(5, relevant.sum(1).max())
    assert np.array_equal(made.relevant, relevant[:, :depth])
    first = [next((k for k, hit in enumerate(row[:depth], 1) if hit), 0) for row in relevant]
    assert made.first_hit.tolist() == first


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 5, 1000])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_an_order_is_ranked_as_the_vectors_it_is_of(
    with_gallery: bool, depth: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "CHUNK", chunk)
    queries, labels = cloud(60), labels_of(60)
    gallery, others = (cloud(90, seed=1), labels_of(90, seed=1)) if with_gallery else (None, None)
    expected = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=depth)
    longest = expected.relevant.shape[1]
    for length in (longest, 1000):
        given = neighbours(queries, gallery, depth=length)
        made = rank_order(given, labels, gallery_labels=others, depth=depth)
        assert all(np.array_equal(one, other) for one, other in zip(made[:4], expected[:4], strict=True))
        assert np.array_equal(made.nearest.indices, expected.nearest.indices[:, :length])
        assert made.nearest.distances is None
    with pytest.raises(ValueError, match=f"{longest - 1} deep .* {longest}: raise its depth"):
        rank_order(given[:, : longest - 1], labels, gallery_labels=others, depth=depth)


def test_one_image_alone_has_no_candidates() -> None:
    made = rank(cloud(1), np.zeros(1, dtype=np.int64), depth=8)
    assert made.relevant.shape == (1, 0)
    assert (made.candidates, made.first_hit.tolist(), made.n_relevant.tolist()) == (0, [0], [0])
    assert rank_order(np.zeros((1, 0), dtype=np.int64), np.zeros(1, dtype=np.int64), depth=8).relevant.shape == (1, 0)


def test_tensors_with_gradient_or_of_inference_mode_are_ranked() -> None:
    with torch.inference_mode():
        points = cloud(2000)
    expected = neighbours(cloud(2000), depth=2)
    assert np.array_equal(neighbours(points, depth=2), expected)
    assert np.array_equal(neighbours(cloud(2000).requires_grad_(), depth=2), expected)


def test_memory_is_that_of_a_chunk() -> None:
    points, labels = cloud(12_000, dim=64), labels_of(12_000, 3_000)
    rank(points[:2000], labels[:2000], depth=8)
    before = psutil.Process().memory_info()
    rank(points, labels, depth=8)
    grown = psutil.Process().memory_info().rss - before.rss
    assert grown < 200 * 2**20  # all pairs would be 576 MB


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("points", KINDS)
@pytest.mark.parametrize("with_gallery", [False, True])
def test_cuda_agrees_with_the_cpu(points: Points, with_gallery: bool) -> None:
    queries, gallery = points(2000), points(1500, seed=1) if with_gallery else None
    labels, others = labels_of(2000), labels_of(1500) if with_gallery else None
    on_cpu = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=9)
    moved = None if gallery is None else gallery.cuda()
    on_cuda = rank(queries.cuda(), labels, gallery=moved, gallery_labels=others, depth=9)
    assert all(np.array_equal(one, other) for one, other in zip(on_cpu[:4], on_cuda[:4], strict=True))
    assert all(np.array_equal(one, other) for one, other in zip(on_cpu.nearest, on_cuda.nearest, strict=True))
    expected = neighbours(queries, gallery, depth=40)
    assert np.array_equal(neighbours(queries.cuda(), moved, depth=40), expected)
