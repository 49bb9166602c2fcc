"""What `bench run --until` would have saved on stored results: its rules, replayed, against all seeds that there are.

    python tests/perf/stopping.py results/reference.parquet [metric]

Per board, for the rule that looks for the leaders: its runs as a share of all; who leads when all seeds are looked at
once (Holm over all pairs, as in the reports; or one-sided against m - 1 others, as the rule does); how many the rule
keeps, and whether the best mean of all seeds is among them. For the rule that looks for the order: its runs, and the
pairs told apart with all seeds (Holm) and by the rule. What an ensemble that is still in is made of counts as runs.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.analysis.board_comparison import BoardComparison, compare, standings
from bench.analysis.differences import Method
from bench.analysis.methods_of_rows import ScoredBoard, Source, scored_boards
from bench.stats.sequential import LeadersLook, OrderLook, leaders, order
from bench.store import load

ALPHA = 0.05
HEADS = "board, methods, seeds, leaders: runs, lead (Holm), lead (one look), kept, best kept, order: runs, pairs, kept"


def decided(board: ScoredBoard) -> list[str] | None:
    """The cells of one board; None where fewer than two methods have three seeds or more, all the same number."""
    pairs = zip(board.lines, board.methods, strict=True)
    trained = [method for line, method in pairs if not method.outside and line.kind != "control"]
    most = max((len(method.seeds) for method in trained), default=0)
    methods = [method for method in trained if len(method.seeds) == most]
    if len(methods) < 2 or most < 3:
        return None
    scores = np.stack([method.scores for method in methods])
    shared = np.array([[bool(one.models & other.models) for other in methods] for one in methods])
    whole = compare(methods, alpha=ALPHA)
    holm = {place.label for place in standings(whole) if place.leads}
    once = at_once(whole)
    looks = list(leaders(scores, most=most, alpha=ALPHA, shared=shared))
    kept = {method.label for method, leads in zip(methods, looks[-1].leading, strict=True) if leads}
    by_order = list(order(scores, most=most, alpha=ALPHA, shared=shared))
    best = methods[int(scores.mean(axis=1).argmax())].label
    return [
        *(f"{board.board.dataset}, {board.board.backbone}", str(len(methods)), str(most), share(looks, methods)),
        *(against(holm, kept), against(once, kept), str(len(kept)), "yes" if best in kept else "no"),
        *(share(by_order, methods), *(str(int(found.better.sum())) for found in (whole, by_order[-1]))),
    ]


def at_once(found: BoardComparison) -> set[str]:
    """The methods that no other is better than, one-sided at alpha / (m - 1), with all seeds."""
    p, limit = found.apart.seeds.p_above(), ALPHA / (len(found.board) - 1)
    beaten = set(found.at[1][p <= limit]) | set(found.at[0][1 - p <= limit])
    return {method.label for place, method in enumerate(found.board) if place not in beaten}


def against(lead: set[str], kept: set[str]) -> str:
    """How many lead, and how the rule departs from that."""
    return f"{len(lead)}, the same" if kept == lead else f"{len(lead)}: {len(kept - lead)} new, {len(lead - kept)} out"


def share(looks: Sequence[LeadersLook | OrderLook], methods: Sequence[Method]) -> str:
    """Of all trained models those that the looks asked for; a fusion trains nothing but what it is made of."""
    models = set[str]().union(*(method.models for method in methods))
    running, before, trained = np.ones(len(methods), bool), 0, set[str]()
    for look in looks:
        asked = (method for method, runs_on in zip(methods, running, strict=True) if runs_on)
        trained |= {
            model for method in asked for model in method.models if seed(model) in method.seeds[before : look.seeds]
        }
        running, before = look.running, look.seeds
    return f"{100 * len(trained) / len(models):.0f} %"


def seed(model: str) -> int:
    """The seed in the key of a trained model."""
    return int(re.findall(r"-s(\d+)-", model)[-1])


if __name__ == "__main__":
    path, metric = sys.argv[1], (sys.argv[2:] or ["recall_at_1"])[0]
    found = filter(None, map(decided, scored_boards(Source(Path(path), load(path)), metric)))
    table = Table(*HEADS.split(", "), title=f"{path}, {metric}, alpha {ALPHA}")
    for cells in found:
        table.add_row(*cells)
    Console(width=180).print(table if table.row_count else f"{path}: no board has two methods of three seeds or more")
