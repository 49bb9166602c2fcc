"""One number for each method of a report, by which its colour is chosen and by which it is found in every figure."""

from collections.abc import Mapping, Sequence

from bench.analysis.boards import Board

__all__ = ["method_numbers"]


def method_numbers(boards: Sequence[Board]) -> Mapping[str, int]:
    """By `method` of a line, from 0: what is trained first, best of the first board first, controls last of them."""
    lines = [line for board in boards for line in board.lines]
    # Sorting keeps the order of the boards, best first.
    ordered = sorted(lines, key=lambda line: (line.outside, line.kind == "control"))
    return {method: number for number, method in enumerate(dict.fromkeys(line.method for line in ordered))}
