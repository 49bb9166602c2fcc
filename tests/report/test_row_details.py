from pathlib import Path

import numpy as np
import pytest
from support.sample_rows import RECIPE, older, row, table

from bench import load as stored
from bench.analysis.board_lines import Line
from bench.analysis.boards import boards
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.report.rerun import rerun
from bench.report.row_details import row_details

RESULTS = Path(__file__).parents[2] / "results"


def lines(*rows: dict[str, object]) -> list[Line]:
    (board,) = boards(table(rows))
    return list(board.lines)


def test_every_seed_is_there_with_its_scores() -> None:
    (line,) = lines(*(row("triplet", seed, recall_at_1=score) for seed, score in ((3, 0.512), (1, 0.5), (7, 0.49))))
    found = row_details(line, ("recall_at_1", "nmi"))
    assert found.metrics == ("Recall@1", "NMI")
    assert found.seeds == (("1", ("50.0", "70.0")), ("3", ("51.2", "70.0")), ("7", ("49.0", "70.0")))


def test_a_score_that_one_seed_lacks_is_empty_there() -> None:
    (line,) = lines(row("triplet", 0, nmi=np.nan), row("triplet", 1, nmi=0.7))
    assert row_details(line, ("nmi",)).seeds == (("0", ("",)), ("1", ("70.0",)))


def test_it_says_what_the_rows_hold_and_every_value_where_they_differ() -> None:
    (line,) = lines(
        row("triplet", 0, device="CPU", seconds=10, peak_memory_mb=900.0, commit="a" * 40, dirty=True),
        row("triplet", 1, device="GPU", seconds=20, peak_memory_mb=1500.0, started="2024-05-03T10:00:00Z"),
    )
    assert dict(row_details(line, ("recall_at_1",)).facts) == {
        "Recipe": "as most rows here",
        "Cost of one seed": "15 s, 12 s to train, 1.5 s to evaluate; 900 images per second; 1.2 GB of memory at its "
        "peak; 110,000 parameters, trained and frozen",
        "Made on": "CPU, GPU; 1 thread; 2024-05-01 to 2024-05-03",
        "Versions": "Python 3.11.9; torch 2.11.0; timm 1.0.9; pytorch-metric-learning 2.9.0",
        "Commit": "0123456789, aaaaaaaaaa with uncommitted changes",
        "Cell": line.cell,
    }


def test_what_no_row_knows_is_not_said() -> None:
    nothing = ("device", "threads", "python", "torch", "timm", "pytorch_metric_learning", "commit", "started")
    costs = ("seconds_evaluate", "images_per_second", "peak_memory_mb", "parameters")
    (line,) = lines(row("triplet", 0, **dict.fromkeys((*nothing, *costs, "dirty"))))
    found = dict(row_details(line, ("recall_at_1",)).facts)
    assert found == {"Recipe": "as most rows here", "Cost of one seed": "14 s, 12 s to train", "Cell": line.cell}


def test_a_recipe_of_its_own_is_said() -> None:
    usual = [row(name, seed) for name in ("triplet", "margin") for seed in range(2)]
    found = lines(*usual, *(row("contrastive", seed, recipe={"epochs": 99}) for seed in range(2)))
    said = {line.objective: dict(row_details(line, ("recall_at_1",)).facts)["Recipe"] for line in found}
    assert said["triplet"] == "as most rows here"
    assert said["contrastive"] == "unlike most rows here: epochs=99"
    assert RECIPE["epochs"] != 99


@pytest.mark.parametrize("file", ["small", "smoke", "finetune"])
def test_the_matrix_of_a_row_asks_for_the_very_jobs_of_that_row(file: str, tmp_path: Path) -> None:
    known = 0
    for board in boards(stored(RESULTS / f"{file}.parquet")):
        for line in board.lines:
            if text := rerun(line):
                path = tmp_path / "again.toml"
                path.write_text(text, encoding="utf-8")
                # Beside a pretrained trunk its floors are computed as well.
                assert {job.key for job in expand(load(path)) if job.cell == line.cell} == set(line.keys)
                known += 1
            else:
                assert line.kind in ("model_ensemble", "floor") or (line.kind == "control" and line.members)
    assert known > 5


def test_where_the_job_is_not_stored_or_of_another_version_there_is_no_matrix() -> None:
    (known,) = lines(row("triplet", 0))
    assert 'losses = [\n  { name = "triplet"' in rerun(known)
    (unknown,) = lines(older(row("triplet", 0), cell="some cell", job=None))
    assert rerun(unknown) == ""
    (newer,) = lines(row("triplet", 0, protocol=999))
    assert rerun(newer) == ""
