import json

import pytest

from bench.matrix.job import Job, Part
from bench.matrix.printable import without_control


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("三元组 ± ▽ é", "三元组 ± ▽ é"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("one\ntwo\ttab\x7f", r"one\ntwo\ttab\x7f"),
        ("\u2028\x85\ufffe\ud800", r"\u2028\x85\ufffe\ud800"),
    ],
)
def test_what_cannot_be_printed_is_an_escape(text, shown):
    assert without_control(text) == shown
    assert without_control(shown) == shown
    assert Part(name="triplet", label=text).label == shown


def test_the_label_of_a_stored_job_is_printable():
    part = {"name": "triplet", "parameters": {}, "label": "a\x1b[2J"}
    assert Part.model_validate_json(json.dumps(part)).label == r"a\x1b[2J"
    assert Job.model_fields["objective"].annotation is Part
