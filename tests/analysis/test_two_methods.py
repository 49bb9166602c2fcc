"""From stored rows to answers: who is compared with whom, and every reason why not."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.jobs import go, tiny
from support.sample_rows import older, part, row
from support.stored_boards import SCORES, stored_rows, write_classes, write_rows

import bench
from bench import store
from bench.analysis.differences import Method
from bench.analysis.methods_of_rows import Source, scored_boards
from bench.analysis.two_methods import NothingToCompare
from bench.matrix.job import ConfigError
from bench.stats.difference import difference, methods
from bench.stats.ranks import holm
from bench.store.queries import write_queries

SHARES = {
    name: np.clip(mean + spread, 0, 1)
    for (name, mean), spread in zip(
        {"best": 0.8, "second": 0.6, "third": 0.6}.items(),
        np.random.default_rng(0).normal(0, 0.1, (3, 1, 30)) + np.random.default_rng(1).normal(0, 0.01, (3, 3, 1)),
        strict=True,
    )
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.parquet", stored_rows())


def test_a_pair_is_that_of_the_statistics(file: Path) -> None:
    (board,) = bench.compare("best", "second", results=file).boards
    (answer,) = board.pairs
    found = methods(list(SCORES.values()))
    first, second = np.triu_indices(4, 1)
    p = holm(difference(found, first, second).p_two_sided())
    assert answer.difference == pytest.approx(0.8 - 0.702)
    assert answer.p == pytest.approx(p[0])
    assert answer.pairs == 6
    assert board.sentences[0].startswith("best is better than second by 9.8 points on these test classes (")
    assert "Nothing is known about new classes" in board.sentences[0]


def test_all_pairs_and_one_pair_agree(file: Path) -> None:
    (every,) = bench.compare(results=file).boards
    assert len(every.pairs) == 6
    assert every.verdict == "best is better than every other (Holm over 6 pairs)."
    assert [place.label for place in every.methods] == ["best", "second", "third", "last"]
    assert [place.ranks for place in every.methods] == [(1, 1), (2, 3), (2, 3), (4, 4)]
    for found in every.pairs:
        (one,) = bench.compare(found.a, found.b, results=file).boards
        assert repr(one.pairs[0]) == repr(found)


@pytest.mark.parametrize("name", ["key", "cell"])
def test_keys_and_cells_name_a_method(file: Path, name: str) -> None:
    rows = bench.load(file)
    given = rows.loc[rows["objective"] == "best", name].iloc[0]
    assert repr(bench.compare(given, "last", results=file).boards) == repr(
        bench.compare("best", "last", results=file).boards
    )


@pytest.mark.parametrize("packed", [False, True])
def test_stored_classes_say_what_holds_for_new_ones(tmp_path: Path, packed: bool) -> None:
    source = write_classes(tmp_path / "runs", {name: share.tolist() for name, share in SHARES.items()})
    if packed:
        store.pack(source, tmp_path / "runs.parquet")
        source = tmp_path / "runs.parquet"
    (board,) = bench.compare("best", "second", results=source).boards
    new, here = board.pairs[0].new.interval, board.pairs[0].interval
    assert new.low < here.low < here.high < new.high
    assert "On new classes " in board.sentences[0]
    assert board.notes == ()


def test_scores_of_classes_that_do_not_give_the_stored_score_are_left_out(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "runs", {name: share.tolist() for name, share in SHARES.items()})
    key = bench.load(source).query("objective == 'best'")["key"].iloc[0]
    found = store.read_queries(source, key)
    write_queries(found._replace(first_hit=np.full_like(found.first_hit, 2)), source / key / "queries.parquet")
    assert "no scores per class" in bench.compare("best", "second", results=source).boards[0].pairs[0].new.reason


def test_queries_with_nothing_to_find_count_nowhere(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "runs", {name: share.tolist() for name, share in SHARES.items()})
    whole = bench.compare("best", "second", results=source)
    for key in bench.load(source)["key"]:
        found = store.read_queries(source, key)
        classes, hits = np.append(found.classes, 30), np.append(found.first_hit, 0).astype(np.int32)
        values = {"map_at_r": np.append(np.zeros(len(found.first_hit)), np.nan)}
        write_queries(found._replace(classes=classes, first_hit=hits, values=values), source / key / "queries.parquet")
    assert repr(bench.compare("best", "second", results=source)) == repr(whole)


@pytest.mark.parametrize("metric", ["recall_at_1", "recall_at_2", "map_at_r"])
def test_real_jobs_have_scores_per_class(metric: str, trained: Path) -> None:
    (board,) = bench.compare("triplet", "contrastive", results=trained, metric=metric).boards
    assert math.isfinite(board.pairs[0].new.models.low)
    assert "no scores per class" not in board.pairs[0].new.reason


def test_clusters_have_no_scores_per_class(trained: Path) -> None:
    (board,) = bench.compare("triplet", "contrastive", results=trained, metric="nmi").boards
    assert "no scores per class" in board.pairs[0].new.reason


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    fused = [{"name": "concatenate", "members": ["triplet", "contrastive"]}]
    for job in tiny(losses=["triplet", "contrastive"], model_ensembles=fused, seeds=2):
        go(job, folder)
    return folder


def test_a_model_ensemble_and_its_member_are_compared_seed_by_seed(trained: Path) -> None:
    (board,) = bench.compare(results=trained).boards
    shared = {frozenset((one.a, one.b)): one.shared for one in board.pairs}
    fused = next(place.label for place in board.methods if place.label.startswith("concatenate"))
    assert shared == {
        frozenset((fused, "triplet")): True,
        frozenset((fused, "contrastive")): True,
        frozenset(("triplet", "contrastive")): False,
    }


def test_a_copy_of_the_same_runs_is_no_second_measurement(tmp_path: Path, file: Path) -> None:
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(file.read_bytes())
    (board,) = bench.compare("best", "best", results=file, against=copy).boards
    assert board.pairs[0].difference == 0
    assert "made of the same trained models" in board.sentences[0]


def test_two_sources_compare_each_method_with_itself(tmp_path: Path, file: Path) -> None:
    worse = {name: [value - 0.05 * (name == "best") for value in values] for name, values in SCORES.items()}
    later = write_rows(tmp_path / "later.parquet", stored_rows(worse, started="2025-01-01T00:00:00Z"))
    (board,) = bench.compare("best", "best", results=file, against=later).boards
    (answer,) = board.pairs
    assert answer.pairs == 4
    assert answer.separated
    assert not answer.shared
    assert board.verdict == board.sentences[0]
    assert {place.label for place in board.methods} == {answer.a, answer.b}
    assert f"best [{file}] is better than best [{later}] by 5.0 points" in board.sentences[0]
    (turned,) = bench.compare("best", "best", results=later, against=file).boards[0].pairs
    assert (turned.p, turned.difference) == (answer.p, -answer.difference)


def test_other_recipes_are_named(tmp_path: Path) -> None:
    rows = [*stored_rows(), *stored_rows({"longer": (0.9, 0.91, 0.92)}, recipe={"epochs": 40})]
    found = bench.compare("longer (epochs=40)", "best", results=write_rows(tmp_path / "a.parquet", rows))
    recipes = "They have different recipes: longer (epochs=40) has epochs=40; best has epochs=10."
    assert recipes in found.boards[0].notes
    assert repr(bench.compare("longer", "best", results=tmp_path / "a.parquet")) == repr(found)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"dataset_sha": "e" * 64}, r"another version of the data \(dddddddd and eeeeeeee\)"),
        ({"protocol": 2}, r"another protocol \(1 and 2\)"),
        ({"dataset": part("glyphs", classes=9)}, "other parameters of the dataset"),
        ({"backbone": part("conv4", width=9)}, "other parameters of the backbone"),
        ({"dataset": "cub"}, "no dataset and backbone has both"),
    ],
)
def test_what_is_not_comparable_is_named(tmp_path: Path, file: Path, other: dict[str, object], sentence: str) -> None:
    later = write_rows(tmp_path / "later.parquet", stored_rows(**other))
    with pytest.raises(NothingToCompare, match=sentence):
        bench.compare("best", "best", results=file, against=later)


def test_two_versions_of_the_data_in_one_folder(tmp_path: Path) -> None:
    rows = [*stored_rows(), *stored_rows({"other": (0.1, 0.2)}, dataset_sha="e" * 64)]
    with pytest.raises(NothingToCompare, match="another version of the data"):
        bench.compare("best", "other", results=write_rows(tmp_path / "a.parquet", rows))


def test_an_older_protocol_in_one_folder(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", [*stored_rows(), *stored_rows({"new": (0.5, 0.6)}, protocol=2)])
    with pytest.raises(ConfigError, match="'best' was measured under protocol 1 only"):
        bench.compare("best", "new", results=file)


def test_several_datasets_are_put_together(tmp_path: Path) -> None:
    rows = [*stored_rows(), *stored_rows(dataset="cub"), *stored_rows({"alone": (0.1, 0.2)}, dataset="sop")]
    file = write_rows(tmp_path / "a.parquet", rows)
    found = bench.compare("second", "best", results=file)
    assert len(found.boards) == 2
    assert "second against best on 2 datasets: better on 0, tied on 0, worse on 2" in found.across[0]
    assert "is −9.8 points" in found.across[0]
    assert len(bench.compare("second", "best", results=file, dataset="cub").boards) == 1
    (note,) = bench.compare(results=file).notes
    assert note == "sop, conv4 has one method with this score, and so nothing to compare."
    assert bench.compare("best", "second", results=file).notes == ()


def test_labels_that_two_methods_share(tmp_path: Path) -> None:
    twins = [part("twin", margin=0.1), part("twin", margin=0.2)]
    rows = [
        row(twin, seed, recall_at_1=0.5 + seed / 100 + place / 10)
        for place, twin in enumerate(twins)
        for seed in range(3)
    ]
    file = write_rows(tmp_path / "a.parquet", [*stored_rows(), *rows])
    with pytest.raises(ConfigError, match=r"'twin' stands for 2 methods on glyphs: .*'twin \(margin=0.2\)' \(cell "):
        bench.compare("twin", "best", results=file)
    (board,) = bench.compare("twin (margin=0.1)", "twin (margin=0.2)", results=file).boards
    assert board.pairs[0].difference == pytest.approx(-0.1)


@pytest.mark.parametrize("word", ["A", None])
def test_half_a_pair_is_a_sentence(file: Path, word: str | None) -> None:
    with pytest.raises(ConfigError, match="needs A and B"):
        bench.compare(word, results=file, against=file)


def test_one_seed_has_no_verdict(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", [*stored_rows(), row("lone", 0, recall_at_1=0.95)])
    (board,) = bench.compare("lone", "best", results=file).boards
    assert "this says nothing about the methods" in board.sentences[0]
    assert not board.pairs[0].separated


def test_only_single_seeds(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", stored_rows({"a": (0.5,), "b": (0.9,)}))
    (board,) = bench.compare(results=file).boards
    assert "run a second seed" in board.verdict
    assert all(place.ranks is None for place in board.methods)


def test_two_methods_are_a_board(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", stored_rows({"a": (0.5, 0.51, 0.52), "b": (0.9, 0.91, 0.93)}))
    (board,) = bench.compare(results=file).boards
    assert board.pairs[0].separated
    assert board.verdict == "b is better than every other (one pair)."


def test_identical_seeds_are_named(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", [*stored_rows(), *stored_rows({"still": (0.6, 0.6, 0.6)})])
    note = "still: all of its 3 seeds score exactly the same; see that they are different runs."
    assert note in bench.compare("still", "best", results=file).boards[0].notes
    assert note not in bench.compare("second", "best", results=file).boards[0].notes
    assert bench.compare("still", "best", results=file).boards[0].pairs[0].separated


def test_nothing_varies(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.parquet", stored_rows({"a": (0.6, 0.6), "b": (0.5, 0.5)}))
    (board,) = bench.compare(results=file).boards
    assert "no method of the board varies with the seed" in board.sentences[0]


def test_a_floor_is_not_called_a_leader(tmp_path: Path) -> None:
    floor = stored_rows({"floor": (0.2, 0.6)}, kind="floor")
    (board,) = bench.compare(results=write_rows(tmp_path / "a.parquet", [*stored_rows(), *floor])).boards
    assert board.verdict.startswith("best leads")
    assert "without training, floor has too few seeds to be told apart" in board.verdict


def test_rows_from_before_jobs_were_stored(tmp_path: Path, file: Path) -> None:
    old = write_rows(tmp_path / "old.parquet", [older(one) for one in stored_rows()])
    assert bench.compare("best", "last", results=old).boards[0].pairs[0].p == pytest.approx(
        bench.compare("best", "last", results=file).boards[0].pairs[0].p
    )


def test_needs_no_torch(file: Path) -> None:
    code = f"import sys, bench; bench.compare(results={str(file)!r}); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_method_values_have_one_score_per_seed(file: Path) -> None:
    (board,) = scored_boards(Source(file, bench.load(file)), "recall_at_1")
    assert all(isinstance(method, Method) and method.seeds == (0, 1, 2, 3, 4) for method in board.methods)
    assert {method.label: tuple(method.scores) for method in board.methods} == SCORES
