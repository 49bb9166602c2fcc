import numpy as np

from bench.analysis.verdict_text import across_in_words
from bench.stats.across_datasets import across
from bench.stats.estimate import Estimate


def test_several_data_sets_in_words() -> None:
    found = Estimate(np.array([0.03, -0.01]), np.full(2, 1e-4), np.full(2, 6.0), np.full(2, "", dtype=object))
    said = across_in_words(across(found, [0.01, 0.4]), "A", "B")
    assert "A against B on 2 datasets: better on 1, tied on 1, worse on 0" in said
    assert "the mean difference over these datasets is 1.0 points (" in said
    assert "No test by ranks or signs can reach .05 on fewer than 6" in said
