"""The outcome of a check in sentences, and in XML that a parser takes."""

from xml.etree import ElementTree as xml

import numpy as np
import pytest

from bench.analysis.regression import Checked, CheckedBoard, Verdict
from bench.analysis.regression_baseline import Absent
from bench.report.regression import headline, junit, markdown, text, values


def verdict(label="triplet", verdict="no worse", **changes) -> Verdict:
    found = Verdict(label, "cell", (10, 3), 0.7, 0.69, verdict, 0.01, 0.015, 0.5, 0.03, "")
    return found._replace(**changes)


def checked(*methods, absent=(), notes=()) -> Checked:
    board = CheckedBoard("glyphs", "conv4", methods, verdict("mean of all"), True)
    return Checked("b.parquet", "recall_at_1", 3, (board,), absent, notes)


NAN = dict.fromkeys(("drop", "upper", "p", "seen"), np.nan)
FINE = "Not worse than the baseline"
ABSENT = (Absent("margin", "the baseline does not have it"),)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (checked(verdict(), verdict("b")), f"{FINE}."),
        (checked(verdict(), verdict("b", "cannot tell")), "1 of 3 verdicts cannot be told."),
        (checked(verdict(), absent=ABSENT), f"{FINE}; 1 method has no baseline."),
        (checked(verdict(verdict="same bits"), absent=2 * ABSENT), f"{FINE}; 2 methods have no baseline."),
        (checked(verdict(), verdict("b", "failed")), "Worse than the baseline: b failed."),
        (checked(verdict("a", "worse"), verdict("b", "failed")), "Worse than the baseline: a worse, b failed."),
    ],
)
def test_the_headline(found, sentence):
    assert headline(found) == sentence
    assert text(found).splitlines()[-1 - len(found.absent)] == sentence
    assert markdown(found).startswith(f"## bench check: {sentence}")
    assert values(found)["outcome"] == sentence


def test_sentences_beside_the_table():
    found = checked(
        verdict("a", "worse", drop=0.051, p=0.00321),
        verdict("b", "worse", drop=0.3, p=1e-9),
        verdict("c", "cannot tell", seen=0.0432),
        verdict("d", "cannot tell", reason="one seed is not enough", **NAN),
        verdict("e", "failed", reason="seed 0 failed: The disk was full."),
        absent=ABSENT,
        notes=("Beware.",),
    )
    lines = text(found).splitlines()
    for sentence in (
        "a: fell by 5.1 points (p 0.0032 after Holm's correction).",
        "b: fell by 30.0 points (p below .0001 after Holm's correction).",
        "c: a drop of 4.3 points would be seen three times in four.",
        "d: one seed is not enough.",
        "e: seed 0 failed: The disk was full.",
        "margin is not compared: the baseline does not have it.",
        "Beware.",
    ):
        assert sentence in lines
    assert "nan" not in text(found)
    assert lines[0] == "glyphs, conv4, Recall@1: 3 fresh seeds against 10 of b.parquet, seed by seed"


@pytest.mark.parametrize("strict", [True, False])
def test_junit_counts_what_it_holds(strict):
    found = checked(
        verdict('<a> & "b"\x1b[0m', "failed", reason="\x00 <bad>"), verdict("b", "cannot tell"), absent=ABSENT
    )
    suite = xml.fromstring(junit(found, strict=strict))
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "3" if strict else "1",
        "errors": "0",
        "skipped": "0" if strict else "2",
    }
    assert suite.find("testcase").get("name") == '<a> & "b" [0m'


def test_problems_alone_are_errors():
    suite = xml.fromstring(junit(None, ["one.", "two."]))
    assert [case.find("error").get("message") for case in suite] == ["one.", "two."]
    assert markdown(None, ["one *is*."]) == "## bench check: nothing was compared\n\none \\*is\\*.\n"
