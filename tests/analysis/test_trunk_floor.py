from support.sample_rows import part, row, table

from bench.analysis.boards import boards
from bench.report.tables import scoreboard

ALONE = part("trunk")
STANDARDISED = part("trunk", transform="standardised").model_copy(update={"label": "standardised"})


def scored(name, *values, **others):
    return [row(name, seed, recall_at_1=value, **others) for seed, value in enumerate(values)]


def board_of(*groups):
    (board,) = boards(table([one for rows in groups for one in rows]))
    return board


def test_lines_that_are_not_above_the_best_form_of_the_trunk_are_marked() -> None:
    board = board_of(
        scored(ALONE, 0.5, 0.5, 0.5, kind="floor"),
        scored(STANDARDISED, 0.52, 0.52, 0.52, kind="floor"),
        scored("pixels", 0.1, 0.1, 0.1, kind="floor"),
        scored("far above", 0.700, 0.702, 0.701),
        scored("in doubt", 0.521, 0.540, 0.505),
        scored("below", 0.400, 0.402, 0.401),
    )
    assert board.trunk is not None
    assert board.trunk.line.label == "standardised"
    labels = [row[0].text for row in scoreboard(board).rows]
    assert [label for label in labels if label.endswith("▽")] == ["in doubt ▽", "below ▽"]
    assert board.verdict.sentence.endswith("1 of 3 lines are above the trunk alone (standardised: 52.0).")


def test_with_one_seed_the_mean_decides() -> None:
    board = board_of(scored(ALONE, 0.5, kind="floor"), scored("above", 0.51), scored("level", 0.5))
    assert board.trunk is not None
    assert {line.label for line in board.lines if line.cell in board.trunk.below} == {"level"}


def test_a_board_without_the_trunk_marks_nothing() -> None:
    board = board_of(scored("pixels", 0.9, kind="floor"), scored("triplet", 0.5))
    assert board.trunk is None
    assert "trunk" not in board.verdict.sentence
    assert not any("▽" in row[0].text for row in scoreboard(board).rows)


def test_floors_that_no_seed_moves_are_ranked_by_what_they_score() -> None:
    board = board_of(
        scored(STANDARDISED, 0.52, 0.52, 0.52, kind="floor"),
        scored(ALONE, 0.5, 0.5, 0.5, kind="floor"),
        scored("pixels", 0.1, 0.1, 0.1, kind="floor"),
        scored("far below", 0.300, 0.302, 0.301),
    )
    places = {line.label: board.verdict.places[line.cell] for line in board.lines}
    assert [places[name].ranks for name in ("standardised", "trunk", "far below", "pixels")] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    assert len({place.letters for place in places.values()}) == 4
    assert {line.label for line in board.lines if line.cell in board.verdict.leading} == {"standardised"}
