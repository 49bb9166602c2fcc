import inspect
import xml.etree.ElementTree as ElementTree
from functools import cache
from itertools import pairwise

import pytest
from matplotlib.figure import Figure
from support import shrunk_variances as oracle
from support.sample_rows import history, large, logs, row, table, unfinished

from bench.analysis.boards import boards
from bench.report.plots import costs, ensembles, leaderboard, pairs
from bench.report.plots.draw import Picture, pictures
from bench.report.plots.svg import INK, Logs, standalone, to_svg

ROWS = large(datasets=2, backbones=1, objectives=12)


@cache
def all_pictures() -> list[Picture]:
    return [one for one in pictures(boards(ROWS), logs(ROWS)) if one.svg]


MODULES = (pairs, costs, leaderboard, ensembles)
PLOTS = {name: getattr(module, name) for module in MODULES for name in module.__all__}
SVG = "{http://www.w3.org/2000/svg}"


def words(picture: Picture) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(picture.svg).iter(f"{SVG}text")]


def drawn(plot: str, rows: list[dict[str, object]]) -> list[Figure]:
    frame = table(rows)
    return [one.figure for one in PLOTS[plot](boards(frame), logs(frame)) if one.figure]


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_is_one_function_with_a_caption(plot: str) -> None:
    function = PLOTS[plot]
    assert list(inspect.signature(function).parameters) == ["boards", "logs"]
    caption = " ".join(str(function.__doc__).split("\n\n")[0].split())
    mine = [picture for picture in all_pictures() if picture.name.startswith(plot.replace("_", "-"))]
    assert mine
    assert {picture.caption for picture in mine} == {caption}


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_survives_a_board_without_scores(plot: str) -> None:
    assert drawn(plot, [unfinished("angular", 0, "skipped", "It needs texts.")]) == []


@pytest.mark.parametrize("plot", PLOTS)
def test_every_plot_survives_one_seed_of_one_loss(plot: str) -> None:
    assert len(drawn(plot, [row()])) <= 1


def test_names_are_files_and_all_different() -> None:
    rows = table([row(dataset=name, dataset_sha=name) for name in ("a/b", "a b", "a-b")])
    names = [picture.name for picture in pictures(boards(rows), logs(rows))]
    assert len(names) == len(set(names)) >= 3 * len(leaderboard.__all__) - 2  # the heat map is of all three
    assert all(name.removesuffix(".svg").replace("-", "").isalnum() for name in names)


def test_svg_is_the_same_every_time_and_without_a_date() -> None:
    again = pictures(boards(ROWS), logs(ROWS))
    assert [one for one in again if one.svg] == all_pictures()
    assert not any("date" in picture.svg.lower() for picture in all_pictures())


def test_ids_of_one_page_never_clash() -> None:
    ids = [
        (picture.name, element.get("id"))
        for picture in all_pictures()
        for element in ElementTree.fromstring(picture.svg).iter()
        if element.get("id")
    ]
    assert len({identity for _, identity in ids}) == len(ids)


def test_ink_follows_the_page_and_text_stays_text() -> None:
    assert len(all_pictures()) > 5
    for picture in all_pictures():
        assert INK not in picture.svg, picture.name
        assert "currentColor" in picture.svg, picture.name
        assert any(word.startswith("objective_") for word in words(picture)), picture.name
        assert ElementTree.fromstring(standalone(picture.svg).encode()).find(f"{SVG}style") is not None, picture.name


def test_bars_state_unit_chance_and_kinds() -> None:
    (bars,) = [picture for picture in all_pictures() if picture.name == "recall-at-1-dataset-0-backbone-0.svg"]
    assert {"Recall@1 (%)", "chance (1.9 %)", "loss", "ensemble", "model ensemble"} <= set(words(bars))


def test_bars_are_as_long_as_the_scores_and_sorted() -> None:
    scores = {"triplet": (0.4, 0.6), "softmax": (0.7, 0.7)}
    rows = [row(name, seed, recall_at_1=value) for name, pair in scores.items() for seed, value in enumerate(pair)]
    (figure,) = drawn("recall_at_1", rows)
    bars, whiskers = figure.axes[0].collections[:2]
    assert [segment[1][0] for segment in bars.get_segments()] == pytest.approx([70, 50])  # type: ignore[attr-defined]
    # Softmax does not vary and lends nothing: the variance of 0.4 and 0.6 is shrunk toward itself alone.
    ((variance, freedom),) = oracle.shrunk([scores["triplet"]])
    _, high = oracle.interval(0.5, variance / 2, freedom)
    assert high > 1
    # The part below 0 is not drawn.
    assert whiskers.get_segments()[1][:, 0] == pytest.approx([0, 100 * high], rel=1e-4)  # type: ignore[attr-defined]
    assert [text.get_text() for text in figure.axes[0].texts] == ["softmax", "triplet"]
    assert figure.axes[0].get_xlim() == (0, 100)


def test_curves_start_at_one_and_are_means_over_seeds() -> None:
    rows = table([row(seed=seed) for seed in range(2)])
    long = history(rows, epochs=3)
    long["loss"] = [4.0, 2.0, 1.0, 10.0, 10.0, 5.0]
    ((_, figure, *_),) = leaderboard.training(boards(rows), Logs(long, long))
    (curve,) = figure.axes[0].collections[0].get_segments()  # type: ignore[attr-defined]
    assert curve.ravel() == pytest.approx([1, 1, 2, 0.75, 3, 0.375])


def test_a_loss_that_starts_at_zero_has_no_relative_curve() -> None:
    rows = table([row("triplet"), row("softmax")])
    long = history(rows)
    long.loc[(long["key"] == rows["key"][0]) & (long["epoch"] == 1), "loss"] = 0.0
    ((_, figure, *_),) = leaderboard.training(boards(rows), Logs(long, long))
    assert [text.get_text() for text in figure.axes[0].texts] == ["softmax"]


def test_one_epoch_is_no_curve() -> None:
    rows = table([row()])
    assert list(leaderboard.training(boards(rows), logs(rows, epochs=1))) == []


def test_names_of_curves_never_overlap() -> None:
    rows = table([row(f"loss {number}") for number in range(12)])
    long = history(rows).assign(loss=1.0)
    ((_, figure, *_),) = leaderboard.training(boards(rows), Logs(long, long))
    heights = sorted(text.get_position()[1] for text in figure.axes[0].texts)  # in parts of the axes
    inches = figure.get_figheight() * figure.axes[0].get_position().height
    gaps = [(above - below) * inches * 72 for below, above in pairwise(heights)]
    assert min(gaps) > 8


def test_heat_map_has_a_column_for_each_dataset_and_a_row_for_what_is_on_all_of_them() -> None:
    rows = [row("triplet", dataset="a"), row("triplet", dataset="b"), row("softmax", dataset="a", recall_at_1=0.9)]
    rows += [row("wide", dataset=dataset, kind="control", recall_at_1=0.7) for dataset in "ab"]
    (figure,) = drawn("heat_map", rows)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["a", "b"]
    numbers = sorted(text.get_text() for text in figure.axes[0].texts if "." in text.get_text())
    assert numbers == ["64.0", "64.0"]
    assert drawn("heat_map", [row("triplet", dataset="a"), row("softmax", dataset="b")]) == []


def test_odd_labels_are_drawn_letter_by_letter() -> None:
    (figure,) = drawn("recall_at_1", [row("$x_1$ <b> & 損失")])
    assert "$x_1$ &lt;b&gt; &amp; 損失" in to_svg(figure, name="odd")
