import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from rich.console import Console

from bench.analysis.complement import Committee, Study
from bench.report.complement import terminal, write
from bench.report.plots.svg import INK

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "Lower <script>alert(1)</script> | `rate` [red]x[/red]"


def study_of(labels=("alpha", "beta", "gamma"), *, seeds=2, size=2, **changes):
    """Plausible numbers; the last member is the best, and every pair of members differs."""
    count = len(labels)
    random = np.random.default_rng(count)
    recall = np.linspace(0.5, 0.7, count) + 0.01 * np.arange(seeds)[:, None]
    only = np.where(np.eye(count), 0, 0.02 + 0.1 * random.random((count, count)))
    gain = np.triu(0.1 * random.random((count, count)) - 0.02, 1)
    gain += gain.T
    width = np.full((count, count), 0.013 if seeds > 1 else np.nan)
    both = recall.mean(0)[:, None] - only
    chosen = np.tile(np.arange(size) % count, (seeds, 2, 1))
    scores = 0.8 + 0.02 * np.arange(size) + np.zeros((seeds, 2, 1))
    committee = Committee(chosen, scores + 0.05 * np.arange(size), scores)
    base = {"dataset": "glyphs", "backbone": "conv4", "queries": 3048, "judged": 2000, "missing": ()}
    found = {"both": both, "only": only, "neither": 1 - both - only - only.T, "together": 0.7 + gain, "gain": gain}
    shape = {"labels": tuple(labels), "seeds": tuple(range(seeds)), "recall": recall, "gain_half_width": width}
    return Study(**{**base, **found, **shape, "committee": committee, **changes})


def document(studies, folder):
    return write(studies, folder)[-1].read_text(encoding="utf-8")


def table_under(heading, text):
    """Cells of the first table under a heading, its head first."""
    lines = text.split(f"### {heading}\n")[1].splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return [row for row in rows if not set("".join(row)) <= set("-: ")]


def words(path):
    text = path.read_text(encoding="utf-8")
    return ["".join(part.itertext()) for part in ElementTree.fromstring(text.encode()).iter(f"{SVG}text")]


def pictures(studies, folder):
    return [path for path in write(studies, folder) if path.suffix == ".svg"]


def test_the_committee_stands_with_both_halves_and_its_gains(tmp_path):
    chosen = np.array([[[0, 1], [0, 2]], [[2, 1], [0, 1]]])
    unseen = np.array([[[0.80, 0.84], [0.82, 0.84]], [[0.80, 0.86], [0.82, 0.86]]])
    one = study_of(committee=Committee(chosen, unseen + np.array([0.01, 0.02]), unseen))
    head, single, pair = table_under("Committee", document([one], tmp_path))
    assert head == ["Members", "Added (share of choices)", "Other half", "Gain", "Half chosen on", "Gain there"]
    assert single == ["1", "alpha (75 %), gamma (25 %)", "81.0 ± 0.0", "–", "82.0 ± 0.0", "–"]
    # Gains 3 and 5 points in the two seeds: half-width t(0.975, 1) * 1 = 12.7.
    assert pair == ["2", "beta (75 %), gamma (25 %)", "85.0 ± 12.7", "+4.0 ± 12.7", "87.0 ± 12.7", "+5.0 ± 12.7"]


def test_many_different_choices_are_counted(tmp_path):
    labels = [f"loss {n}" for n in range(9)]
    chosen = np.array([[[0], [1]], [[2], [3]], [[4], [4]]])
    scores = np.full((3, 2, 1), 0.8)
    one = study_of(labels, seeds=3, committee=Committee(chosen, scores, scores))
    row = table_under("Committee", document([one], tmp_path))[1]
    assert row[1] == "loss 4 (33 %), loss 0 (17 %), loss 1 (17 %), 2 others"


def test_partners_are_sorted_by_what_they_add_to_the_best(tmp_path):
    only = np.array([[0, 0.11, 0.12], [0.21, 0, 0.13], [0.22, 0.25, 0]])
    one = study_of(only=only)
    rows = table_under("Partners", document([one], tmp_path))[1:]
    # gamma is the best; to it, beta adds only[beta, gamma] = 13 %, alpha 12 %.
    assert [row[:2] for row in rows] == [
        ["gamma", "beta"],
        ["gamma", "alpha"],
        ["beta", "gamma"],
        ["beta", "alpha"],
        ["alpha", "gamma"],
        ["alpha", "beta"],
    ]
    first = rows[0]
    assert first[2:4] == ["70.5", "60.5"]
    assert first[5:7] == ["25.0", "13.0"]
    assert first[4] == f"{100 * one.both[2, 1]:.1f}"
    assert first[7] == f"{100 * one.neither[2, 1]:.1f}"
    assert first[8] == f"{100 * one.together[2, 1]:.1f}"
    assert first[9] == f"{100 * one.gain[2, 1]:+.1f} ± 1.3".replace("-", "−")


def test_a_long_table_is_cut_and_says_so(tmp_path):
    text = document([study_of([f"loss {n}" for n in range(12)])], tmp_path)
    assert len(table_under("Partners", text)[1:]) == 50
    assert "The best 10 of 12 objectives A and first 5 of 11 partners are listed." in text
    assert "are listed" not in document([study_of()], tmp_path)


def test_the_best_pairs_are_those_with_the_highest_recall_together(tmp_path):
    together = np.array([[0.5, 0.71, 0.75], [0.71, 0.6, 0.73], [0.75, 0.73, 0.7]])
    rows = table_under("Best pairs by Recall@1 together", document([study_of(together=together)], tmp_path))[1:]
    assert [row[:3] for row in rows] == [
        ["gamma", "alpha", "75.0"],
        ["gamma", "beta", "73.0"],
        ["beta", "alpha", "71.0"],
    ]


def test_one_seed_shows_no_interval(tmp_path):
    text = document([study_of(seeds=1)], tmp_path).split("## How to read")[0]
    assert "±" not in text
    assert "nan" not in text.lower()
    assert "seed 0; 3,048 queries; fusion is judged on 2,000 of them, drawn class by class." in text


def test_what_is_missing_is_listed_and_labels_cannot_break_the_page(tmp_path):
    text = document([study_of((HOSTILE, "b"), missing=(f"{HOSTILE} is absent.",))], tmp_path)
    assert "<script>" not in text
    assert r"- Lower \<script\>alert(1)\</script\> \| \`rate\` \[red\]x\[/red\] is absent." in text
    assert all(len(row) == 10 for row in table_under("Partners", text))


def test_every_board_has_both_pictures_under_names_of_its_own(tmp_path):
    studies = [study_of(dataset=name) for name in ("a/b", "a b")]
    paths = write(studies, tmp_path / "new" / "folder")
    assert [path.name.rpartition("a-b")[0] for path in paths[:4]] == ["fusion-gain-", "only-b-finds-"] * 2
    assert paths[-1].name == "complement.md"
    text = paths[-1].read_text(encoding="utf-8")
    assert all(f"]({path.name})" in text for path in paths[:4])
    assert len({path.name for path in paths}) == 5
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(path.name for path in paths)


def test_the_same_studies_give_the_same_bytes(tmp_path):
    studies = [study_of([f"loss {n}" for n in range(20)])]
    first = [path.read_bytes() for path in write(studies, tmp_path / "a")]
    assert first == [path.read_bytes() for path in write(studies, tmp_path / "b")]


def test_heat_maps_go_by_recall_and_state_every_number(tmp_path):
    only = np.array([[0, 0.11, 0.12], [0.21, 0, 0.13], [0.22, 0.25, 0]])
    gain = np.array([[0, 0.012, -0.3], [0.012, 0, 0.034], [-0.3, 0.034, 0]])
    fusion, added = pictures([study_of(only=only, gain=gain)], tmp_path)
    names = [name for name in words(fusion) if name.split("\u2002")[0] in ("alpha", "beta", "gamma")]
    assert names == ["gamma\u20021", "beta\u20022", "alpha\u20023"]
    cells = [word for word in words(fusion) if re.fullmatch(r"[+−]\d+\.\d", word)]
    assert cells == ["+3.4", "−30.0", "+3.4", "+1.2", "−30.0", "+1.2"]  # row by row, without the diagonal
    assert "−3.4 points or less" in words(fusion)
    # Row gamma: what beta finds and gamma misses, then alpha.
    assert [word for word in words(added) if re.fullmatch(r"\d+\.\d", word)] == [
        "13.0",
        "12.0",
        "25.0",
        "11.0",
        "22.0",
        "21.0",
    ]


@pytest.mark.parametrize(("count", "drawn", "numbers"), [(15, 15, True), (16, 16, False), (45, 40, False)])
def test_many_members_are_coloured_without_numbers_and_at_last_cut(tmp_path, count, drawn, numbers):
    labels = [f"loss {n}" for n in range(count)]
    fusion, added = pictures([study_of(labels)], tmp_path)
    for picture in (fusion, added):
        assert sum(word.startswith("loss ") for word in words(picture)) == drawn
        assert any(re.fullmatch(r"[+−]?\d+\.\d", word) for word in words(picture)) == numbers
        assert any(f"best 40 of {count}" in word for word in words(picture)) == (count > 40)
        assert str(drawn) in words(picture)


@pytest.mark.parametrize("sign", [-1, 0])
def test_pairs_that_gain_nothing_are_drawn_too(tmp_path, sign):
    gain = sign * np.where(np.eye(3), 0, 0.05)
    fusion, _ = pictures([study_of(gain=gain)], tmp_path)
    assert words(fusion).count("−5.0" if sign else "+0.0") == 6
    assert "−1.0 points or less" in words(fusion)


def test_ink_follows_the_page(tmp_path):
    for picture in pictures([study_of()], tmp_path):
        text = picture.read_text(encoding="utf-8")
        assert INK not in text
        assert "currentColor" in text
        assert "prefers-color-scheme: dark" in text


def test_the_terminal_is_short_and_keeps_to_eighty_columns():
    labels = [f"objective_with_a_long_name_{n}(margin=0.1)" for n in range(30)]
    stream = io.StringIO()
    studies = [study_of(labels, size=4, missing=(f"{HOSTILE} is absent.",))]
    Console(file=stream, width=80).print(terminal(studies))
    shown = stream.getvalue()
    assert "glyphs, conv4" in shown
    assert "[red]x[/red] is absent." in shown
    assert "Best pairs" in shown
    assert len(shown.splitlines()) < 40
    assert max(map(len, shown.splitlines())) <= 80
