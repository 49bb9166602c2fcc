"""Model ensembles: contracts of every one, and what a concatenation means for distances."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import fusion

EVERY = [getattr(fusion, name) for name in fusion.__all__]
Fusion = Callable[..., NDArray[np.float32]]


def members() -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    return [(scale * rng.normal(size=(30, dim))).astype(np.float32) for scale, dim in ((1, 4), (100, 7), (0.01, 4))]


@pytest.mark.parametrize("fuse", EVERY, ids=fusion.__all__)
def test_rows_are_finite_unit_vectors_in_single_precision(fuse: Fusion) -> None:
    fused = fuse(members())
    assert fused.dtype == np.float32
    assert len(fused) == 30
    np.testing.assert_allclose(np.linalg.norm(fused, axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("fuse", EVERY, ids=fusion.__all__)
def test_images_are_fused_each_on_its_own(fuse: Fusion) -> None:
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_allclose(fuse([member[order] for member in members()]), fuse(members())[order], rtol=1e-6)


@pytest.mark.parametrize("fuse", EVERY, ids=fusion.__all__)
def test_members_that_do_not_fit_are_named(fuse: Fusion) -> None:
    with pytest.raises(ValueError, match="same images"):
        fuse([])
    with pytest.raises(ValueError, match="29, 30"):
        fuse([members()[0], members()[1][:29]])


def test_squared_distances_are_the_mean_of_the_members() -> None:
    def squared(points: NDArray[np.floating]) -> NDArray[np.floating]:
        return ((points[:, None] - points) ** 2).sum(2)

    fused = fusion.concatenate(members())
    assert fused.shape == (30, 15)
    each = [squared(member / np.linalg.norm(member, axis=1, keepdims=True)) for member in members()]
    np.testing.assert_allclose(squared(fused), np.mean(each, axis=0), atol=1e-5)


def test_a_row_of_zeros_stays_zero() -> None:
    fused = fusion.concatenate([np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float32)])
    assert not fused.any()
