"""Comparisons of methods as text for a terminal, and as JSON values."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tabulate import tabulate

from bench.analysis.board_comparison import Comparison, Standing
from bench.analysis.two_methods import Compared, ComparedBoard
from bench.report.tables import percent, rank_set
from bench.scoring.names import metric_name
from bench.stats.power import MOST_SEEDS

__all__ = ["all_pairs_text", "json_values", "pair_text"]

LEGEND = "Row against column, in this order: > better, < worse, = cannot be told apart, ? no verdict."
TABLE_LEGEND = (
    "± is a 95 % interval over new seeds, its variance shrunk over the board; sd is over a method's own seeds. "
    "Methods that share a letter cannot be told apart."
)


def pair_text(found: Compared) -> str:
    """One pair, board by board: both means, the verdict in words, and what to know about the rows behind it."""
    common = _common(found.boards)
    blocks = [_pair_block(board, common) for board in found.boards]
    return "\n\n".join([*blocks, *found.across, *_block([*common, *found.notes])])


def all_pairs_text(found: Compared) -> str:
    """Every board: who leads, the methods with intervals, rank sets and tie groups, and the matrix of pairs."""
    common = _common(found.boards)
    blocks = [_whole_block(board, common) for board in found.boards]
    return "\n\n".join([*blocks, *_block([*common, TABLE_LEGEND, LEGEND, *found.notes])])


def _common(boards: Sequence[ComparedBoard]) -> list[str]:
    """The notes that all boards share: said once."""
    return [note for note in boards[0].notes if len(boards) > 1 and all(note in board.notes for board in boards)]


def _block(lines: Sequence[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []


def _head(board: ComparedBoard) -> str:
    return f"{board.dataset}, {board.backbone}, {metric_name(board.metric)}"


def _notes(board: ComparedBoard, common: Sequence[str]) -> list[str]:
    return [note for note in board.notes if note not in common]


def _pair_block(board: ComparedBoard, common: Sequence[str]) -> str:
    (answer,), (sentence,) = board.pairs, board.sentences
    sides = {place.label: place for place in board.methods if place.label in (answer.a, answer.b)}
    rows = [_row(sides[label]) for label in (answer.a, answer.b)]
    table = _table(rows, ("", metric_name(board.metric), "seeds", "sd"))
    parts = [_head(board), table, sentence, *_among_many(answer), *_superior(answer), *_notes(board, common)]
    return "\n".join(parts)


def _superior(answer: Comparison) -> list[str]:
    probability, (low, high) = answer.superior
    if math.isnan(answer.p) or math.isnan(low):
        return []
    said = f"One run of {answer.a} beats one run of {answer.b} in {_share(probability)} % of cases"
    return [f"{said}." if _share(low) == _share(high) else f"{said} ({_share(low)} to {_share(high)} %)."]


def _share(probability: float) -> str:
    """In percent, never certain: ">99" and "<1" at the ends."""
    return ">99" if probability > 0.99 else "<1" if probability < 0.01 else f"{100 * probability:.0f}"


def _among_many(answer: Comparison) -> list[str]:
    """Why a pair is not told apart although its interval leaves 0 out."""
    low, high = answer.interval
    if answer.separated or answer.pairs < 2 or not low * high > 0 or math.isnan(answer.p):
        return []
    return [
        f"The interval leaves 0 out, but it is that of this pair alone: among {answer.pairs:,} pairs so large a gap "
        "may be chance. If fewer methods are in question, name their matrix with --matrix."
    ]


def _whole_block(board: ComparedBoard, common: Sequence[str]) -> str:
    rows = [
        (str(number), *_row(place), _ranks(place), place.letters) for number, place in enumerate(board.methods, start=1)
    ]
    heads = ("#", "method", metric_name(board.metric), "seeds", "sd", "ranks", "groups")
    count = sum(one.separated for one in board.pairs)
    tally = f"{count:,} of {len(board.pairs):,} pairs are told apart."
    parts = [_head(board), f"{board.verdict} {tally}", *_notes(board, common), "", _table(rows, heads), ""]
    return "\n".join([*parts, *_matrix(board)])


def _row(place: Standing) -> tuple[str, str, str, str]:
    score = "–" if math.isnan(place.mean) else percent(place.mean, place.half_width)
    sd = "–" if math.isnan(place.own_sd) else percent(place.own_sd, math.nan)
    return (place.label, score, str(place.seeds), sd)


def _ranks(place: Standing) -> str:
    if place.ranks is None:
        return "–"
    return rank_set(*place.ranks)


def _table(rows: Iterable[Sequence[str]], heads: Sequence[str]) -> str:
    numbers = {"#", "seeds", "sd"}
    align = ["right" if head in numbers else "left" for head in heads]
    return tabulate(rows, heads, tablefmt="plain", disable_numparse=True, colalign=align)


def _matrix(board: ComparedBoard) -> list[str]:
    """One sign per pair, in the order of the table."""
    signs = {(one.a, one.b): _sign(one) for one in board.pairs}
    signs |= {(b, a): {">": "<", "<": ">"}.get(sign, sign) for (a, b), sign in signs.items()}
    labels = [place.label for place in board.methods]
    width = len(str(len(labels)))
    return [
        f"{number:>{width}} {''.join(signs.get((label, other), '·') for other in labels)}"
        for number, label in enumerate(labels, start=1)
    ]


def _sign(one: Comparison) -> str:
    if math.isnan(one.p):
        return "?"
    return ("=", ">", "<")[0 if not one.separated else 1 if one.difference > 0 else 2]


def json_values(found: Any) -> Any:
    """As JSON: a named tuple is an object, NaN is null, an infinite number of seeds is a text."""
    if hasattr(found, "_asdict"):
        return {name: json_values(value) for name, value in found._asdict().items()}
    if isinstance(found, tuple | list):
        return [json_values(value) for value in found]
    if isinstance(found, float) and not math.isfinite(found):
        return None if math.isnan(found) else f"more than {MOST_SEEDS}"
    return found
