import torch

from bench.text import class_vectors


def test_like_names_have_like_vectors():
    vectors = class_vectors(["LATIN SMALL LETTER A", "LATIN SMALL LETTER A WITH ACUTE", "GREEK CAPITAL LETTER OMEGA"])
    similar = vectors @ vectors.T
    assert torch.allclose(similar.diagonal(), torch.ones(3), atol=1e-6)
    assert similar[0, 1] > 0.6 > similar[0, 2]
