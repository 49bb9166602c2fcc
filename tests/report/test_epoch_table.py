import pytest
from support import shrunk_variances as oracle
from support.sample_rows import row, table

from bench.analysis.boards import boards
from bench.report.epoch_table import epoch_table
from bench.report.markdown import markdown

HELD_OUT = {"validation": {"share": 0.2}, "select": "validation"}


def looked(objective, seed, *, held_out, selected, last, best, epoch):
    looks = {
        "validation_recall_at_1": held_out,
        "validation_map_at_r": held_out / 2,
        "recall_at_1_selected": selected,
        "recall_at_1_last": last,
        "recall_at_1_oracle": best,
    }
    return row(objective, seed, recipe=HELD_OUT, epoch=epoch, **looks)


ROWS = [
    looked("triplet", 0, held_out=0.70, selected=0.50, last=0.48, best=0.53, epoch=[8]),
    looked("triplet", 1, held_out=0.72, selected=0.54, last=0.50, best=0.55, epoch=[4]),
    looked("folded", 0, held_out=0.60, selected=0.40, last=0.40, best=0.40, epoch=[9, 10, 10]),
]


def shown(pair):
    """Mean and half-width of two values, of which no other line of the board knows more."""
    ((variance, freedom),) = oracle.shrunk([pair])
    _, high = oracle.interval(0, variance / 2, freedom)
    return f"{sum(pair) / 2:.1f} ± {high:.1f}"


def cells(rows):
    (board,) = boards(table(rows))
    return {found[0].text: [cell.text for cell in found[1:]] for found in epoch_table(board).rows}


def test_a_line_says_which_epoch_counts_and_what_the_best_on_the_test_would_add():
    found = cells(ROWS)
    # The gap is paired by seed: 3 points and 1.
    pairs = [(70, 72), (50, 54), (48, 50), (53, 55), (3, 1)]
    assert found["triplet"] == ["6 (4–8)", *map(shown, pairs), "2"]
    assert found["folded"] == ["10 (9–10)", "60.0", "40.0", "40.0", "40.0", "0.0", "1"]


def test_lines_that_held_nothing_out_have_no_row():
    assert set(cells([*ROWS, row("plain", 0)])) == {"triplet", "folded"}
    assert "Which epoch counts" not in markdown(boards(table([row("plain", 0)])), title="Test")


@pytest.mark.parametrize("name", ["selected", "last", "oracle"])
def test_nothing_is_ranked_by_what_was_only_looked_at(name):
    (board,) = boards(table(ROWS))
    assert not any(metric.endswith(name) or metric.startswith("validation") for metric in board.metrics)
    text = markdown([board], title="Test")
    assert "| Objective | Epoch | Held out | Selected | Last | Best on test (oracle) | Gap | Seeds |" in text
    assert text.index("| Objective | Kind |") < text.index("(oracle)")
