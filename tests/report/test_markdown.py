import io
import re
from typing import Any

from rich.console import Console
from support import shrunk_variances as oracle
from support.sample_rows import history, large, row, table, unfinished

from bench.analysis.boards import boards
from bench.report import markdown, terminal
from bench.report.markdown import plain

LIKE = {"triplet": 0.5, "softmax": 0.6}
HOSTILE = "Lower <script>alert(1)</script> | `rate`\nand *retry* & wait."


def text(rows: list[dict[str, Any]]) -> str:
    return markdown(boards(table(rows)), title="Test")


def line_of(label: str, document: str) -> list[str]:
    (found,) = [line for line in document.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def whole(document: str) -> str:
    """The folded table of all lines and columns of a document with one board."""
    (found,) = re.findall(r"lines with all their scores</summary>(.*?)</details>", document, re.DOTALL)
    return str(found)


def column(name: str, label: str, document: str) -> str:
    return line_of(label, whole(document))[line_of("Objective", whole(document)).index(name)]


def test_scores_are_percent_with_one_decimal_and_the_leading_group_is_bold() -> None:
    firsts = {"triplet": 0.5, "softmax": 0.6, "angular": 0.61}
    rows = [row(name, seed, recall_at_1=first + seed / 100) for name, first in firsts.items() for seed in range(3)]
    document = text(rows)
    ((variance, freedom), *_) = oracle.shrunk([(50, 51, 52)] * 3)
    _, high = oracle.interval(0, variance / 3, freedom)
    assert column("Recall@1", "angular", document) == f"**62.0 ± {high:.1f}**"
    assert column("Recall@1", "softmax", document) == f"**61.0 ± {high:.1f}**"
    assert column("Recall@1", "triplet", document) == f"51.0 ± {high:.1f}"
    assert [column("Rank", name, document) for name in ("angular", "softmax", "triplet")] == ["1–2", "1–2", "3"]
    assert [column("Ties", name, document) for name in ("angular", "softmax", "triplet")] == ["a", "a", "b"]
    assert {column("SD", name, document) for name in firsts} == {"1.0"}
    assert "**2 methods lead and cannot be told apart: angular, softmax (Holm over 3 pairs).**" in document


def test_controls_are_not_ranked() -> None:
    rows = [row(name, seed, recall_at_1=value + seed / 100) for name, value in LIKE.items() for seed in range(3)]
    rows += [row("long", seed, recall_at_1=0.9 + seed / 100, kind="control") for seed in range(3)]
    document = text(rows)
    assert column("Rank", "long", document) == "–"
    assert "**" not in column("Recall@1", "long", document)
    assert column("Rank", "softmax", document) == "1"


def test_one_seed_has_no_interval_no_rank_and_no_leader() -> None:
    document = text([row(recall_at_1=0.613)])
    assert column("Recall@1", "triplet", document) == "61.3"
    assert "| Rank |" not in document


def test_names_of_files_that_are_left_out_are_shown_letter_by_letter() -> None:
    document = text([row() | {"left_out": HOSTILE}])
    assert f"Left out of the data: {plain(HOSTILE)}." in document
    assert "<script>" not in document


def test_columns_and_chance_level() -> None:
    document = text([row()])
    heads = "| Objective | Kind | Recall@1 | Recall@2 | Recall@4 | Recall@8 | MAP@R | R-precision | NMI | AMI "
    assert f"{heads}| Seeds | Dim | Time |" in document
    assert line_of("chance level", whole(document))[2:9] == ["1.9", "", "", "", "", "", "21.0"]


def test_some_seeds_done_reads_n_of_n_and_the_rest_is_listed_with_its_sentence() -> None:
    document = text([row(seed=0), row(seed=1), unfinished("triplet", 2, "failed", "No memory left.")])
    assert "2 of 3" in line_of("triplet", whole(document))
    assert "| triplet | 2 | failed | No memory left. |" in document


def test_a_board_without_any_score_says_so() -> None:
    document = text([unfinished("angular", 0, "skipped", "It needs texts.")])
    assert "No cell of this board has scores." in document
    assert "| angular | 0 | skipped | It needs texts. |" in document


def test_gain_in_points_and_the_cost_of_a_model_ensemble() -> None:
    rows = [row("triplet", seed, recall_at_1=0.5 + seed / 100) for seed in range(3)]
    fused: dict[str, Any] = {"kind": "model_ensemble", "members": ["triplet"], "seconds": 0.4, "seconds_train": None}
    rows += [row("fused", seed, recall_at_1=0.52 + seed / 100 + 0.01 * (seed == 1), **fused) for seed in range(3)]
    document = text(rows)
    ((variance, freedom),) = oracle.shrunk([(0.02, 0.03, 0.02)])
    low, high = oracle.interval(7 / 3, 1e4 * variance / 3, freedom)
    gain = f" **+2.3 ± {(high - low) / 2:.1f}** |"
    assert f"| fused | triplet | 1× | 1× |{gain * 5} 3 |" in document
    assert line_of("fused", whole(document))[-1] == "0.4 s †"
    assert "† Nothing is trained" in document


def test_reasons_and_labels_cannot_break_the_table() -> None:
    document = text([row("a|b <i>"), unfinished("angular", 0, "failed", HOSTILE)])
    assert r"| a\|b \<i\> | loss |" in document
    assert r"Lower \<script\>alert(1)\</script\> \| \`rate\` and \*retry\* &amp; wait. |" in document
    assert "<script>" not in document


def test_the_terminal_shows_every_line_in_eighty_columns() -> None:
    rows = large(datasets=1, backbones=1)
    lonely = unfinished("angular", 0, "failed", "[red]No memory[/red].", dataset="dataset 0", backbone="backbone-0")
    rows = table([*rows.to_dict("records"), lonely])  # type: ignore[list-item]
    stream = io.StringIO()
    Console(file=stream, width=80).print(terminal(boards(rows)))
    shown = stream.getvalue()
    assert all(f"objective_{number} " in shown for number in range(25))
    assert "±" in shown
    assert "angular, seed 0, failed: [red]No memory[/red]." in shown
    assert "points over" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert history(rows)["key"].nunique() == 66


def test_what_the_test_images_were_perhaps_seen_in_is_said_and_marked() -> None:
    overlap = "classes: 59 classes of birds are in ImageNet-1k (a source)"
    rows = [row("triplet", seed, overlap=overlap, near_duplicates=12) for seed in range(2)]
    rows += [row("triplet", seed, dataset="letters", overlap=None, near_duplicates=0) for seed in range(2)]
    document = text(rows)
    near = "near-duplicates: 12 test images have one among the training images"
    assert f"Contamination: {plain(overlap)} \\| {near}." in document
    assert (
        "| Dataset | Backbone | Highest mean | Contamination | Recall@1 | Also leading | Seeds | Chance |" in document
    )
    assert line_of("glyphs", document)[3] == "classes"
    assert line_of("letters", document)[3] == "–"


def test_clean_cells_need_no_column_of_marks() -> None:
    assert "Contamination |" not in text([row("triplet", seed) for seed in range(2)])


def test_a_long_board_is_a_dozen_lines_and_the_rest_is_folded() -> None:
    rows = large(datasets=1, backbones=1, objectives=30).to_dict("records")
    place = {"dataset": "dataset 0", "backbone": "backbone-0", "dataset_sha": "0" * 64}
    rows += [row(f"floor {at}", seed, kind="floor", recall_at_1=at / 99, **place) for at in range(4) for seed in (0, 1)]
    rows += [row("best", at, kind="control", recall_at_1=0.95 + at / 99, **place) for at in range(2)]
    (board,) = boards(table(rows))  # type: ignore[arg-type]
    plots = {("dataset 0", "backbone-0"): [(f"Figure {at}.", f"{at}.svg") for at in range(5)]}
    document = markdown([board], title="Test", plots=plots)
    seen = re.sub(r"<details>.*?</details>", "", document.partition("## dataset 0")[2], flags=re.DOTALL)
    shown = [line.split("|")[1].strip() for line in seen.splitlines() if line.startswith("| ")][2:]
    leaders = [plain(line.label) for line in board.lines if line.kind not in ("control", "floor")][:8]
    assert shown == [*leaders, "floor 3", "floor 2", "floor 1", "chance level"]
    assert re.findall(r"\((\d)\.svg\)", seen) == ["0", "1", "2"]
    assert re.findall(r"\((\d)\.svg\)", document) == ["0", "1", "2", "3", "4"]
    assert all(f"| {plain(line.label)} |" in whole(document) for line in board.lines)


def test_of_several_boards_three_figures_are_seen() -> None:
    found = boards(large(datasets=2, backbones=1, objectives=3))
    plots = {
        (board.dataset, board.backbone): [(name, f"{name}-{at}.svg") for name in "ab"] for at, board in enumerate(found)
    }
    seen = re.sub(r"<details>.*?</details>", "", markdown(found, title="Test", plots=plots), flags=re.DOTALL)
    assert re.findall(r"\((.*)\.svg\)", seen) == ["a-0", "b-0", "a-1"]
