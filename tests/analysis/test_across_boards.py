import math

import pytest
from support import shrunk_variances as oracle
from support.sample_rows import row, table

from bench.analysis.across_boards import Together, together
from bench.analysis.boards import boards

SCORES = {
    "letters": {"a": (0.80, 0.81, 0.79), "b": (0.70, 0.71, 0.72), "c": (0.695, 0.70, 0.715)},
    "birds": {"a": (0.50, 0.51, 0.52), "b": (0.60, 0.61, 0.62), "c": (0.61, 0.60, 0.62)},
}


def rows_of(scores: dict[str, dict[str, tuple[float, ...]]], **others: object) -> list[dict[str, object]]:
    return [
        row(name, seed, dataset=dataset, recall_at_1=value, **others)
        for dataset, methods in scores.items()
        for name, values in methods.items()
        for seed, value in enumerate(values)
    ]


def only(rows: list[dict[str, object]]) -> Together:
    (found,) = together(boards(table(rows)))
    return found


def test_comparisons_are_counted_over_the_datasets_and_differences_are_means_over_these() -> None:
    found = only(rows_of(SCORES))
    assert found.datasets == ("birds", "letters")
    counts = {line.label: (line.better, line.tied, line.worse) for line in found.lines}
    # On letters a is better than b and c, on birds worse than both; b and c are tied on both.
    assert counts == {"a": (2, 0, 2), "b": (1, 2, 1), "c": (1, 2, 1)}
    first, *others = found.lines
    assert first.label == "b"
    for line in others:
        variance, parts = 0.0, []
        for methods in SCORES.values():
            shrunk = dict(zip(methods, oracle.shrunk(list(methods.values())), strict=True))
            (one, freedom), (other, theirs) = shrunk["b"], shrunk[line.label]
            parts.append(((one + other) / 3 / 4, min(freedom, theirs)))
            variance += (one + other) / 3 / 4
        degrees = variance**2 / sum(part**2 / freedom for part, freedom in parts)
        low, high = oracle.interval(0, variance, degrees)
        means = {name: [sum(methods[name]) / 3 for methods in SCORES.values()] for name in ("b", line.label)}
        assert line.behind == pytest.approx((sum(means["b"]) / 2 - sum(means[line.label]) / 2, (high - low) / 2))


def test_a_method_is_what_it_is_and_not_its_label() -> None:
    other = {"letters": {"a": (0.8, 0.81)}, "birds": {"a": (0.8, 0.81)}}
    rows = rows_of({"letters": {"b": (0.5, 0.51)}, "birds": {"b": (0.5, 0.51)}})
    rows += rows_of({"letters": other["letters"]})
    rows += rows_of({"birds": other["birds"]}, recipe={"epochs": 90})
    assert together(boards(table(rows))) == []


def test_what_was_searched_on_each_dataset_is_one_method_whatever_was_found() -> None:
    rows = rows_of({"letters": {"a": (0.5, 0.51), "b": (0.6, 0.62)}}, recipe={"epochs": 4, "head_rate": 0.1})
    rows += rows_of({"birds": {"a": (0.7, 0.71)}}, recipe={"epochs": 4, "head_rate": 0.2})
    rows += rows_of({"birds": {"b": (0.8, 0.81)}}, recipe={"epochs": 4, "head_rate": 0.3})
    assert together(boards(table(rows))) == []
    backbone = str(table(rows)["backbone"].iloc[0])
    drawn = boards(table(rows), searched={(dataset, backbone): ("Searched.",) for dataset in ("letters", "birds")})
    (found,) = together(drawn)
    assert [line.label for line in found.lines] == ["b", "a"]
    assert all(board.notes == ("Searched.",) and "head_rate" not in board.recipe for board in drawn)


def test_methods_of_other_datasets_are_another_table() -> None:
    more = {"letters": {"d": (0.3, 0.31)}, "cars": {"d": (0.2, 0.21), "e": (0.1, 0.11)}}
    more["letters"]["e"] = (0.4, 0.41)
    found = together(boards(table(rows_of(SCORES) + rows_of(more))))
    assert [(one.datasets, sorted(line.label for line in one.lines)) for one in found] == [
        (("birds", "letters"), ["a", "b", "c"]),
        (("cars", "letters"), ["d", "e"]),
    ]


def test_controls_and_single_datasets_are_left_out() -> None:
    assert together(boards(table(rows_of({"letters": SCORES["letters"]})))) == []
    controls = rows_of({name: {"d": (0.9, 0.91, 0.92)} for name in SCORES}, kind="control")
    assert only(rows_of(SCORES) + controls).lines == only(rows_of(SCORES)).lines


def test_one_seed_has_no_interval() -> None:
    found = only(rows_of({name: {"a": (0.5,), "b": (0.6,)} for name in SCORES}))
    assert [(line.label, line.better, line.tied, line.worse) for line in found.lines] == [
        ("b", 0, 2, 0),
        ("a", 0, 2, 0),
    ]
    assert math.isnan(found.lines[1].behind[1])
