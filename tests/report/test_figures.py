"""The figures that answer a question: who is better and by how much, what it costs, which classes it loses."""

from pathlib import Path

import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from support.sample_rows import large, logs, row, table
from support.stored_boards import stored_rows, write_classes

import bench
from bench.analysis.boards import boards
from bench.analysis.class_losses import stored_classes
from bench.report.page.page import page
from bench.report.plots import classes, costs, pairs
from bench.report.plots.draw import pictures
from bench.report.plots.looks import looks
from bench.report.plots.svg import Drawing


def one(plot: object, rows: list[dict[str, object]]) -> Drawing:
    frame = table(rows)
    (found,) = plot(boards(frame), logs(frame))  # type: ignore[operator]
    assert isinstance(found, Drawing)
    return found


def texts(figure: Figure | None) -> list[str]:
    assert figure is not None
    return [text.get_text() for text in (*figure.texts, *(text for axes in figure.axes for text in axes.texts))]


def numbers(drawing: Drawing) -> list[list[str]]:
    assert drawing.table is not None
    return [[cell.text for cell in cells] for cells in drawing.table.rows]


def test_the_leader_is_what_the_others_are_held_against() -> None:
    levels = {"best": 0.8, "near": 0.798, "far": 0.5}
    rows = [row(name, seed, recall_at_1=level + seed / 200) for name, level in levels.items() for seed in range(4)]
    found = one(pairs.behind_the_leader, [*rows, row("raw pixels", 0, kind="floor", recall_at_1=0.4)])
    assert [cells[::2] for cells in numbers(found)] == [["near", "cannot be told apart"], ["far", "worse"]]
    assert [cells[1].split(" ")[0] for cells in numbers(found)] == ["−0.2", "−30.0"]
    assert any(text.startswith("Behind best: ") for text in texts(found.figure))
    assert "raw pixels (−40.8)" in texts(found.figure)
    marks = [one for one in found.figure.axes[0].collections if isinstance(one, PathCollection)]  # type: ignore[union-attr]
    assert [len(one.get_facecolors()) for one in marks] == [1, 0]  # far is filled, near is hollow


def test_a_matrix_has_a_mark_for_every_sure_pair_in_both_directions() -> None:
    found = one(pairs.who_beats_whom, [*stored_rows(), row("alone", 0, recall_at_1=0.66)])
    assert found.figure is not None
    counts = [patch.get_path().codes.tolist().count(1) for patch in found.figure.axes[0].patches]  # type: ignore[union-attr]
    # Four methods, of which second and third are tied: five sure pairs; one more method has no verdict against four.
    assert counts == [5, 5, 8]
    assert "no verdict" in texts(found.figure)


def test_a_large_board_shows_its_first_thirty_and_says_so() -> None:
    rows = large(datasets=1, backbones=1, objectives=45)
    for plot in (pairs.behind_the_leader, pairs.who_beats_whom):
        found = one(plot, rows.to_dict("records"))  # type: ignore[arg-type]
        assert texts(found.figure)[0].endswith(", best 30 of 45")
        assert sum(text.startswith("objective_") for text in texts(found.figure)) in (29, 30)


def test_the_front_is_named_and_the_rest_is_in_the_table() -> None:
    prices = {"cheap": (0.5, 10.0), "good": (0.8, 40.0), "beaten": (0.6, 50.0)}
    rows = [row(name, recall_at_1=recall, seconds_train=time) for name, (recall, time) in prices.items()]
    found = one(costs.recall_against_cost, rows)
    assert found.figure is not None
    assert len(found.figure.axes) == 1  # all have the same size
    assert [text.get_text() for text in found.figure.axes[0].texts] == ["good", "cheap"]
    assert [cells[:3] for cells in numbers(found)] == [
        ["good", "80.0", "40 s"],
        ["beaten", "60.0", "50 s"],
        ["cheap", "50.0", "10 s"],
    ]


def test_lost_classes_are_counted_and_the_worst_are_named(tmp_path: Path) -> None:
    shares = {"best": [(0.9, 0.8, 0.7, 0.5)] * 2, "other": [(0.5, 0.7, 0.8, 0.5)] * 2}
    write_classes(tmp_path, {name: [seed, (*seed[:3], 0.45)] for name, (seed, _) in shares.items()})
    found = boards(bench.load(tmp_path))
    history = logs(bench.load(tmp_path))._replace(classes=stored_classes(found, tmp_path))
    (drawing,) = classes.classes_lost(found, history)
    assert numbers(drawing) == [["other", "2", "1", "1", "−5.0", "0 (−40.0), 1 (−10.0)"]]
    assert "loses 2, wins 1 of 4" in texts(drawing.figure)


@pytest.mark.parametrize(
    ("rows", "sentences"),
    [
        ([row()], ["this board has one method", "fewer than two methods are trained"]),
        ([row("a"), row("b")], ["run a second seed", "all methods cost the same"]),
        (
            [row(name, at, recall_at_1=0.5 + at / 9) for name in "ab" for at in (0, 1)],
            ["no scores of single queries are stored"],
        ),
    ],
)
def test_where_a_figure_is_left_out_the_page_says_why(rows: list[dict[str, object]], sentences: list[str]) -> None:
    found = boards(table(rows))
    html = page(found, title="Small", pictures=pictures(found, logs(table(rows))))
    assert [sentence for sentence in sentences if sentence not in html] == []


def test_a_method_looks_the_same_on_every_board_and_the_first_49_look_different() -> None:
    found = boards(large(datasets=2, backbones=2, objectives=49, seeds=1))
    shown = looks(found)
    assert len(found) == 4
    assert len(shown) == len({(look.hue, look.mark) for look in shown.values()}) == 49
    assert sorted(look.number for look in shown.values()) == list(range(49))
