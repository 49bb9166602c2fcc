"""Neighbours against a brute-force sort, and what must not show in them: chunks, threads, offsets, device."""

import numpy as np
import psutil
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench import ranking
from bench.ranking import blocks, neighbours, rank, rank_order


def cloud(n: int = 300, *, dim: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def grid(n: int = 300, *, dim: int = 3, seed: int = 0) -> Tensor:
    """Points of a small integer grid: many duplicates, many ties, all distances exact."""
    return torch.randint(0, 4, (n, dim), generator=torch.Generator().manual_seed(seed)).float()


def labels_of(n: int, classes: int = 20, *, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, n)


def brute_force(queries: Tensor, gallery: Tensor | None) -> NDArray[np.int64]:
    """The full order of all candidates, by distance and then by index."""
    q, g = queries.double().numpy(), (queries if gallery is None else gallery).double().numpy()
    rows = []
    for i, one in enumerate(q):
        square = ((g - one) ** 2).sum(1)
        order = np.lexsort((np.arange(len(g)), square))
        rows.append(order[order != i] if gallery is None else order)
    return np.array(rows)


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search even among few candidates, as among many."""
    monkeypatch.setattr(ranking, "SMALL", 0)


@pytest.fixture(params=[0, 10**9], ids=["selected", "searched"])
def deep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to propose candidates on a CPU, whatever their number."""
    monkeypatch.setattr(ranking, "DEEP", request.param)


@pytest.mark.parametrize("points", [cloud, grid])
@pytest.mark.parametrize("with_gallery", [False, True])
def test_few_candidates_are_ordered_exactly(points: type[cloud], with_gallery: bool) -> None:
    queries, gallery = points(), points(120, seed=1) if with_gallery else None
    found = neighbours(queries, gallery, depth=1000)
    assert np.array_equal(found, brute_force(queries, gallery))


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("points", [cloud, grid])
@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 7, 130])
def test_searched_candidates_are_ordered_as_by_brute_force(points: type[cloud], with_gallery: bool, depth: int) -> None:
    queries, gallery = points(), points(250, seed=1) if with_gallery else None
    found = neighbours(queries, gallery, depth=depth)
    assert np.array_equal(found, brute_force(queries, gallery)[:, :depth])


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 100, 1000])
def test_many_candidates_are_ordered_as_by_brute_force(with_gallery: bool, depth: int) -> None:
    """Of whole numbers, so that single precision holds every difference."""
    queries, gallery = ((1000 * cloud(n, seed=n)).round() for n in (1300, 1800))
    gallery = gallery if with_gallery else None
    found = neighbours(queries, gallery, depth=depth, chunk=500)
    assert np.array_equal(found, brute_force(queries, gallery)[:, :depth])


@pytest.mark.usefixtures("deep")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_offset_does_not_cost_digits(dtype: torch.dtype) -> None:
    points = cloud(3000, dim=64).to(dtype) + 30_000
    found = neighbours(points, points, depth=20)
    assert np.array_equal(found[:100], brute_force(points[:100], points)[:, :20])


def test_ties_the_search_returns_in_any_order_go_to_the_lower_index() -> None:
    points = grid()
    shuffled = torch.stack([torch.randperm(300, generator=torch.Generator().manual_seed(i)) for i in range(300)])
    found = ranking._ordered(points, points, shuffled, torch.arange(300))
    assert np.array_equal(found.numpy(), brute_force(points, None))


@pytest.mark.usefixtures("searched")
def test_the_query_is_left_out_by_index_among_its_duplicates() -> None:
    points = torch.zeros(100, 4)
    found = neighbours(points, depth=3)
    assert not (found == np.arange(100)[:, None]).any()
    assert np.array_equal(found, brute_force(points, None)[:, :3])


def test_how_the_rows_are_cut_depends_on_their_number_alone() -> None:
    """So that several models can be searched side by side."""
    pieces = [list(blocks(cloud(3000, dim=dim, seed=dim), depth=40, chunk=700)) for dim in (2, 64)]
    assert [rows for rows, _ in pieces[0]] == [rows for rows, _ in pieces[1]]
    assert pieces[0][0][0] == slice(0, 700)
    whole = neighbours(cloud(3000, dim=64, seed=64), depth=40)
    assert np.array_equal(np.concatenate([found for _, found in pieces[1]]), whole)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("points", [cloud, grid])
def test_the_size_of_a_chunk_does_not_show(points: type[cloud]) -> None:
    queries, gallery = points(400, dim=48), points(3000, dim=48, seed=1)
    whole = neighbours(queries, gallery, depth=9)
    assert all(np.array_equal(neighbours(queries, gallery, depth=9, chunk=size), whole) for size in (1, 7, 64, 399))


@pytest.mark.usefixtures("searched", "deep")
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
    relevant = others[brute_force(queries, gallery)] == labels[:, None]
    assert made.candidates == relevant.shape[1]
    assert np.array_equal(made.n_relevant, relevant.sum(1))
    depth = max(5, relevant.sum(1).max())
    assert np.array_equal(made.relevant, relevant[:, :depth])
    first = [next((k for k, hit in enumerate(row[:depth], 1) if hit), 0) for row in relevant]
    assert made.first_hit.tolist() == first


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("depth", [1, 5, 1000])
@pytest.mark.parametrize("chunk", [7, 4096])
def test_an_order_is_ranked_as_the_vectors_it_is_of(with_gallery: bool, depth: int, chunk: int) -> None:
    queries, labels = cloud(60), labels_of(60)
    gallery, others = (cloud(90, seed=1), labels_of(90, seed=1)) if with_gallery else (None, None)
    expected = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=depth)
    longest = expected.relevant.shape[1]
    for length in (longest, 1000):
        order = neighbours(queries, gallery, depth=length)
        made = rank_order(order, labels, gallery_labels=others, depth=depth, chunk=chunk)
        assert all(np.array_equal(one, other) for one, other in zip(made, expected, strict=True))
    with pytest.raises(ValueError, match=f"{longest - 1} deep .* {longest}: raise its depth"):
        rank_order(order[:, : longest - 1], labels, gallery_labels=others, depth=depth)


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
@pytest.mark.parametrize("points", [cloud, grid])
@pytest.mark.parametrize("with_gallery", [False, True])
def test_cuda_agrees_with_the_cpu(points: type[cloud], with_gallery: bool) -> None:
    queries, gallery = points(2000), points(1500, seed=1) if with_gallery else None
    labels, others = labels_of(2000), labels_of(1500) if with_gallery else None
    on_cpu = rank(queries, labels, gallery=gallery, gallery_labels=others, depth=9)
    moved = None if gallery is None else gallery.cuda()
    on_cuda = rank(queries.cuda(), labels, gallery=moved, gallery_labels=others, depth=9)
    if points is cloud:
        assert all(np.array_equal(one, other) for one, other in zip(on_cpu, on_cuda, strict=True))
    assert np.array_equal(on_cpu.n_relevant, on_cuda.n_relevant)
