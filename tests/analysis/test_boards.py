import math
import statistics

import pytest
from support import shrunk_variances as oracle
from support.sample_rows import older, row, table, unfinished

from bench import store
from bench.analysis.boards import boards
from bench.matrix.catalogue import entries
from bench.store.rows_without_job import identified

LAST = ("map_at_r", "r_precision", "nmi", "ami")


def test_one_board_a_dataset_and_backbone_one_line_an_objective() -> None:
    rows = [
        row(name, seed, dataset=dataset, backbone=backbone)
        for name in ("triplet", "softmax")
        for seed in (0, 1)
        for dataset in ("glyphs", "omniglot")
        for backbone in ("conv4", "resnet18")
    ]
    found = boards(table(rows))
    assert [(board.dataset, board.backbone) for board in found] == [
        ("glyphs", "conv4"),
        ("glyphs", "resnet18"),
        ("omniglot", "conv4"),
        ("omniglot", "resnet18"),
    ]
    assert all([line.label for line in board.lines] == ["softmax", "triplet"] for board in found)
    assert all((line.done, line.seeds, line.dim) == (2, 2, 128) for board in found for line in board.lines)


def test_without_rows_there_is_no_board() -> None:
    """As where all rows of a packed file are damaged."""
    assert boards(store.empty()) == []
    assert boards(table([row("triplet")]).iloc[:0]) == []


def test_what_is_left_out_of_the_data_is_a_note_once() -> None:
    out = "pictures left out: 1 that cannot be read: a.png"
    (board,) = boards(table([row(seed=seed) | {"left_out": out} for seed in range(3)]))
    assert board.notes == (f"Left out of the data: {out}.",)


def test_scores_are_means_with_shrunk_intervals_and_the_best_comes_first() -> None:
    values = {"triplet": (0.60, 0.62, 0.67), "proxy_nca": (0.70, 0.71, 0.72)}
    rows = [row(name, seed, recall_at_1=value) for name, found in values.items() for seed, value in enumerate(found)]
    (board,) = boards(table(rows))
    assert [line.objective for line in board.lines] == ["proxy_nca", "triplet"]
    expected = oracle.shrunk([values[line.objective] for line in board.lines])
    for line, (variance, freedom) in zip(board.lines, expected, strict=True):
        score, found = line.scores["recall_at_1"], values[line.objective]
        low, high = oracle.interval(sum(found) / 3, variance / 3, freedom)
        assert (score.mean - score.half_width, score.mean + score.half_width) == pytest.approx((low, high))
        assert score.sd == pytest.approx(statistics.stdev(found))


def test_metrics_are_in_the_order_of_the_literature_and_a_new_one_appears(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = entries("metrics")
    added = {"silhouette": metrics["nmi"]._replace(name="silhouette")}
    monkeypatch.setattr("bench.store.columns.entries", lambda _kind: {**metrics, **added})
    (board,) = boards(table([row(recall_at_10=0.9, silhouette=0.2, silhouette_sd=0.1)]))
    recalls = ("recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", "recall_at_10")
    assert board.metrics == (*recalls, "map_at_r", "r_precision", "nmi", "ami", "silhouette")
    assert board.chance == {"recall_at_1": 0.019, "nmi": 0.21}


def test_a_number_that_someone_added_is_no_score() -> None:
    (board,) = boards(table([row(seed=seed, gpu_hours=30.0, silhouette=0.2) for seed in range(2)]))
    assert board.metrics == ("recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", *LAST)


def test_missing_scores_are_left_out_and_counted() -> None:
    (board,) = boards(table([row(seed=0, nmi=None), row(seed=1, nmi=0.5), row("softmax", nmi=None)]))
    softmax, triplet = sorted(board.lines, key=lambda line: line.objective)
    assert (triplet.scores["nmi"].mean, triplet.scores["nmi"].seeds) == (0.5, 1)
    assert math.isnan(triplet.scores["nmi"].half_width)
    assert "nmi" not in softmax.scores


def test_a_metric_without_any_value_is_no_column() -> None:
    (board,) = boards(table([row(ami=None), row(seed=1, ami=None)]))
    assert "ami" not in board.metrics


def test_recipes_are_never_averaged_together() -> None:
    rows = [row(seed=seed, recall_at_1=0.6) for seed in range(3)]
    rows += [row(seed=seed, recall_at_1=0.1, recipe={"epochs": 0}) for seed in range(2)]
    rows += [row("softmax", recipe={"flip": True})]
    (board,) = boards(table(rows))
    found = {line.label: (line.done, round(line.scores["recall_at_1"].mean, 6)) for line in board.lines}
    assert found == {"triplet": (3, 0.6), "triplet (epochs=0)": (2, 0.1), "softmax (flip=true)": (1, 0.64)}
    assert board.recipe.startswith("epochs=10, dim=128, classes_per_batch=32")


def test_a_recipe_without_a_field_is_another_recipe() -> None:
    with_field = [older(row(), recipe='{"epochs": 10, "warmup": 3}')]
    rows = [older(row(seed=seed), recipe='{"epochs": 10}') for seed in range(2)]
    (board,) = boards(identified(table([*rows, *with_field])))
    assert {line.label for line in board.lines} == {"triplet", "triplet (warmup=3)"}
    with_field += [older(row(seed=seed), recipe='{"epochs": 10, "warmup": 3}') for seed in (1, 2)]
    (board,) = boards(identified(table([*rows, *with_field])))
    assert {line.label for line in board.lines} == {"triplet (warmup=unset)", "triplet"}


def test_only_the_newest_protocol_counts_and_the_rest_is_counted() -> None:
    rows = [row(seed=0, protocol=1, recall_at_1=0.1), row(seed=0, protocol=2, recall_at_1=0.5)]
    old = row(seed=0, protocol=1, dataset="omniglot")
    new, gone = boards(table([*rows, old]))
    assert new.lines[0].scores["recall_at_1"].mean == 0.5
    assert gone.lines == ()
    for board in (new, gone):
        assert board.notes == ("1 row is left out: measured under a protocol older than 2, so not comparable.",)


def test_versions_of_the_data_are_different_boards() -> None:
    rows = [row(seed=seed, dataset_sha="a" * 64) for seed in range(2)] + [row(seed=2, dataset_sha="b" * 64)]
    rows += [unfinished("angular", 0, "skipped", "It needs texts.", dataset_sha=None)]
    first, second = boards(table(rows))
    assert (first.dataset, second.dataset) == ("glyphs (data aaaaaaaa)", "glyphs (data bbbbbbbb)")
    assert [len(board.unfinished) for board in (first, second)] == [1, 0]


def test_of_two_rows_with_one_identity_the_later_counts() -> None:
    rows = [
        row(recall_at_1=0.1, started="2024-05-01T10:00:00Z", key="old"),
        row(recall_at_1=0.7, started="2024-05-02T10:00:00Z", key="new"),
        unfinished("triplet", 0, "failed", "No memory.", started="2024-05-03T10:00:00Z", key="newest"),
    ]
    (board,) = boards(table(rows))
    assert board.lines[0].keys == ("new",)
    assert board.unfinished == ()
    assert board.notes == ("2 rows are left out: the same objective, recipe and seed was stored again later.",)


def test_unfinished_cells_are_in_no_mean_and_keep_their_sentences() -> None:
    rows = [row(seed=0), unfinished("triplet", 1, "failed", "No memory left.")]
    rows += [unfinished("angular", seed, "skipped", "It needs texts.") for seed in (1, 0)]
    rows += [unfinished("contrastive", 0, "diverged", None, recall_at_1=0.9)]
    (board,) = boards(table(rows))
    assert [(line.objective, line.done, line.seeds) for line in board.lines] == [("triplet", 1, 2)]
    assert [tuple(cell) for cell in board.unfinished] == [
        ("angular", (0, 1), "skipped", "It needs texts."),
        ("contrastive", (0,), "diverged", "No reason was stored."),
        ("triplet", (1,), "failed", "No memory left."),
    ]


def test_a_model_ensemble_costs_its_own_seconds() -> None:
    rows = [row(seconds=14, seconds_train=12), row("fused", kind="model_ensemble", seconds=0.4, seconds_train=None)]
    (board,) = boards(table(rows))
    assert {line.objective: line.seconds for line in board.lines} == {"triplet": 12, "fused": 0.4}


def test_queries_left_out_are_told() -> None:
    (board,) = boards(table([row(queries=13_180, queries_without_hit=3)]))
    assert board.queries == "13,180 queries; 3 have no match to find and are left out"
