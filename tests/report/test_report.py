import re
from pathlib import Path

import pandas as pd
import pytest
from support.sample_rows import SCORES, history, row, table, unfinished

from bench.matrix.job import ConfigError
from bench.report import write

ROWS = table(
    [
        *(row(name, seed, dataset=dataset) for name in ("triplet", "softmax") for seed in range(2) for dataset in "ab"),
        row("softmax", 2, dataset="a", commit="f" * 40, dirty=True, device="NVIDIA H100", torch="2.12.0"),
        unfinished("angular", 0, "skipped", "It needs texts.", dataset="a", commit=None, dirty=None, device=None),
    ]
)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_written_files_are_those_in_the_folder_and_twice_the_same(tmp_path: Path) -> None:
    written = write(ROWS, history(ROWS), tmp_path / "deep" / "folder", title="Losses")
    first = contents(tmp_path / "deep" / "folder")
    assert sorted(path.name for path in written) == sorted(first)
    assert {"README.md", "index.html", "heat-map-conv4.svg", "recall-at-1-a-conv4.svg"} <= set(first)
    write(ROWS, history(ROWS), tmp_path / "deep" / "folder", title="Losses")
    assert contents(tmp_path / "deep" / "folder") == first


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    write(ROWS, history(ROWS), tmp_path / "a")
    shuffled = ROWS.sample(frac=1, random_state=1)
    write(shuffled, history(ROWS).sample(frac=1, random_state=2), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_every_picture_that_markdown_links_exists(tmp_path: Path) -> None:
    write(ROWS, history(ROWS), tmp_path)
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (tmp_path / "README.md").read_text(encoding="utf-8"))
    assert len(links) == 7
    assert all((tmp_path / link).is_file() for link in links)


@pytest.mark.parametrize("name", ["README.md", "index.html"])
def test_provenance_lists_every_value(name: str, tmp_path: Path) -> None:
    write(ROWS, history(ROWS), tmp_path)
    text = re.sub(r"<[^>]+>|\*", "", (tmp_path / name).read_text(encoding="utf-8"))
    for fact in (
        "10 (9 done, 1 skipped)",
        "0, 1, 2",
        "torch 2.11.0, 2.12.0",
        "CPU, NVIDIA H100",
        "0123456789, ffffffffff with uncommitted changes",
        "a dddddddd, b dddddddd",
        "shrunk toward what is typical of the board",
        "ECCV 2020",
        "without the seed it is compared",
    ):
        assert fact in text


def test_where_nothing_finished_the_report_is_the_reasons(tmp_path: Path) -> None:
    filled_by_finished_rows = [*SCORES, "queries", "queries_without_hit"]
    skipped = ROWS[ROWS["status"] == "skipped"].drop(columns=filled_by_finished_rows)
    names = [path.name for path in write(skipped, history(skipped), tmp_path)]
    assert names == ["README.md", "index.html"]
    assert "It needs texts." in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_no_history_is_a_report_without_curves(tmp_path: Path) -> None:
    nothing = pd.DataFrame(columns=["key", "epoch", "loss", "rate", "seconds"])
    names = [path.name for path in write(ROWS, nothing, tmp_path)]
    assert not any(name.startswith("training") for name in names)


def test_nothing_to_report_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no rows to report"):
        write(pd.DataFrame(), pd.DataFrame(), tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["README.md", "index.html", "heat-map-conv4.svg"])
def test_files_of_others_are_left_as_they_are(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("# My thesis")
    with pytest.raises(ConfigError, match=f"{name} was not made by bench; name another folder with --output"):
        write(ROWS, history(ROWS), tmp_path)
    assert contents(tmp_path) == {name: b"# My thesis"}


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file: cannot be written"):
        write(ROWS, history(ROWS), tmp_path / "file")
    (tmp_path / "index.html").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        write(ROWS, history(ROWS), tmp_path)


def test_labels_longer_than_a_file_name_give_files_of_their_own(tmp_path: Path) -> None:
    long = [f"{'/data/' * 60}{end}" for end in "ab"]
    write(
        table([row(dataset=name, backbone=name, seed=seed) for name in long for seed in range(2)]),
        history(ROWS),
        tmp_path,
    )
    names = [path.name for path in tmp_path.glob("recall-at-1-*.svg")]
    assert len(names) == 2
    assert max(map(len, names)) < 150
