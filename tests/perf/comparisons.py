"""What the comparisons of a whole board cost: class sums from the queries, all pairs, and every pair in words.

    python tests/perf/comparisons.py

Scores are made up at the size of Stanford Online Products: 60,000 queries of 11,000 classes. Columns are seconds of the
processor. Budgets: 20 methods x 5 seeds (190 pairs) 1 s; 40 methods x 10 seeds (780 pairs) 3 s.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")

import time

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.analysis.board_comparison import Method, compare, pair, standings
from bench.analysis.verdict_text import pair_in_words
from bench.stats.class_variance import class_sums

QUERIES, CLASSES = 60_000, 11_000
BUDGETS = {(20, 5): 1.0, (40, 10): 3.0}


def seconds(methods: int, seeds: int) -> list[float]:
    """Of the class sums, of all pairs with ranks and tie groups, and of every pair in words."""
    generator = np.random.default_rng(0)
    hits = generator.random((methods, seeds, QUERIES)) < generator.uniform(0.6, 0.8, (methods, 1, 1))
    classes = np.sort(generator.integers(0, CLASSES, QUERIES))
    marks = [time.process_time()]
    lines = []
    for place, values in enumerate(hits):
        sums, counts = class_sums(values, classes, count=CLASSES)
        lines.append(Method(str(place), tuple(range(seeds)), values.mean(axis=1), sums))
    marks.append(time.process_time())
    found = compare(lines, counts=counts)
    standings(found)
    marks.append(time.process_time())
    for a, b in zip(*found.at, strict=True):
        pair_in_words(pair(found, lines[a].label, lines[b].label))
    marks.append(time.process_time())
    return np.diff(marks).tolist()


if __name__ == "__main__":
    table = Table("methods", "seeds", "pairs", "class sums", "all pairs", "in words", "together", "budget")
    for (methods, seeds), budget in BUDGETS.items():
        parts = seconds(methods, seeds)
        cells = (f"{part:.2f}" for part in (*parts, sum(parts), budget))
        table.add_row(str(methods), str(seeds), str(methods * (methods - 1) // 2), *cells)
    Console().print(table)
