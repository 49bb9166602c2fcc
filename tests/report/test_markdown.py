import io
from typing import Any

from rich.console import Console
from support.sample_rows import history, large, row, table, unfinished

from bench.analysis.boards import boards
from bench.report import markdown, terminal
from bench.report.markdown import plain

HOSTILE = "Lower <script>alert(1)</script> | `rate`\nand *retry* & wait."


def text(rows: list[dict[str, Any]]) -> str:
    return markdown(boards(table(rows)), title="Test")


def line_of(label: str, document: str) -> list[str]:
    (found,) = [line for line in document.splitlines() if line.startswith(f"| {label} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_scores_are_percent_with_one_decimal_and_the_best_is_bold() -> None:
    rows = [row("triplet", seed, recall_at_1=0.5 + seed / 100, nmi=0.8) for seed in range(2)]
    rows += [row("softmax", seed, recall_at_1=0.6 + seed / 100, nmi=0.7) for seed in range(2)]
    document = text(rows)
    # Two values 0.01 apart: half-width t(0.975, 1) * 0.005 = 12.7062 * 0.005.
    assert line_of("softmax", document)[2] == "**60.5 ± 6.4**"
    assert line_of("triplet", document)[2] == "50.5 ± 6.4"
    assert line_of("triplet", document)[8] == "**80.0 ± 0.0**"
    assert document.index("| softmax |") < document.index("| triplet |")


def test_one_seed_has_no_interval() -> None:
    assert line_of("triplet", text([row(recall_at_1=0.613)]))[2] == "**61.3**"


def test_names_of_files_that_are_left_out_are_shown_letter_by_letter() -> None:
    document = text([row() | {"left_out": HOSTILE}])
    assert f"Left out of the data: {plain(HOSTILE)}." in document
    assert "<script>" not in document


def test_columns_and_chance_level() -> None:
    document = text([row()])
    heads = "| Objective | Kind | Recall@1 | Recall@2 | Recall@4 | Recall@8 | MAP@R | R-precision | NMI | AMI "
    assert f"{heads}| Seeds | Dim | Time |" in document
    assert line_of("chance level", document)[2:9] == ["1.9", "", "", "", "", "", "21.0"]


def test_some_seeds_done_reads_n_of_n_and_the_rest_is_listed_with_its_sentence() -> None:
    document = text([row(seed=0), row(seed=1), unfinished("triplet", 2, "failed", "No memory left.")])
    assert "2 of 3" in line_of("triplet", document.split("### Without scores")[0])
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
    # Differences 2, 3, 2 points: sd 0.57735, half-width 4.302653 * 0.57735 / sqrt(3) = 1.434.
    assert f"| fused | triplet | 1× | 1× |{' **+2.3 ± 1.4** |' * 5} 3 |" in document
    assert line_of("fused", document.split("### What")[0])[-1] == "0.4 s †"
    assert "† Nothing is trained" in document


def test_reasons_and_labels_cannot_break_the_table() -> None:
    document = text([row("a|b <i>"), unfinished("angular", 0, "failed", HOSTILE)])
    assert r"| a\|b \<i\> | loss |" in document
    assert r"Lower \<script\>alert(1)\</script\> \| \`rate\` and \*retry\* &amp; wait. |" in document
    assert "<script>" not in document


def test_two_lines_that_read_the_same_are_both_bold() -> None:
    document = text([row("triplet", recall_at_1=0.6134), row("softmax", recall_at_1=0.6126)])
    assert line_of("triplet", document)[2] == line_of("softmax", document)[2] == "**61.3**"


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
    assert "| Dataset | Backbone | Best objective | Contamination | Recall@1 | Seeds | Chance |" in document
    assert line_of("glyphs", document)[3] == "classes"
    assert line_of("letters", document)[3] == "–"


def test_clean_cells_need_no_column_of_marks() -> None:
    assert "Contamination |" not in text([row("triplet", seed) for seed in range(2)])
