from io import StringIO

from rich.console import Console
from support.jobs import tiny

from bench.cli.progress import show
from bench.execute.pool import Event

JOBS = list(tiny(losses=["triplet", "contrastive"]))
EVENTS = [
    Event(JOBS[0], 1),
    Event(JOBS[1], 1),
    Event(JOBS[0], 2),
    Event(JOBS[0], 2, "done"),
    Event(JOBS[1], 1, "failed", "its worker process was killed"),
]


def drawn(**options):
    out = StringIO()
    assert list(show(EVENTS, JOBS, Console(file=out, width=100, **options))) == EVENTS
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    lines = drawn(force_terminal=False).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[1/2] glyphs(")
    assert lines[0].endswith("triplet seed 0: done")
    assert lines[1].endswith("contrastive seed 0: failed; its worker process was killed")


def test_a_bar_for_the_matrix_and_for_every_job_on_a_terminal():
    text = drawn(force_terminal=True)
    assert "matrix" in text
    assert "6/6" in text.replace(" ", "")
