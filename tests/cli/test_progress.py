from io import StringIO

from rich.console import Console
from support.jobs import tiny

from bench.analysis.stopping import Decision
from bench.cli.progress import display
from bench.execute.event import Event

ONE, TWO = tiny(losses=["triplet", "contrastive"])
CONTROL = ONE.changed(recipe=ONE.recipe.model_copy(update={"dim": 32}), control=True)
EVENTS = [
    Event("stored", TWO.changed(seed=1)),
    Event("planned", ONE),
    Event("planned", TWO),
    Event("comparing", ONE),
    Event("started", ONE),
    Event("started", TWO),
    Event("epoch", ONE, 1),
    Event("epoch", TWO, 1),
    Event("epoch", ONE, 2),
    Event("done", ONE, 2),
    Event("planned", CONTROL),
    Event("started", CONTROL),
    Event("failed", TWO, 1, "its worker process was killed"),
    Event("epoch", CONTROL, 2),
    Event("done", CONTROL, 2),
]


def drawn(events=EVENTS, width=150, **options):
    out = StringIO()
    with display(Console(file=out, width=width, _environ={}, **options)) as shown:
        for event in events:
            shown.show(event)
    return out.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    place = f"{ONE.dataset.label} {ONE.backbone.label}"
    assert drawn(force_terminal=False).splitlines() == [
        "3 cells, 1 done before",
        f"{ONE.dataset.label}: comparing test photos with training photos",
        f"[1/2] {place} triplet seed 0: done",
        "1 controls, 0 done before",
        f"[2/3] {place} contrastive seed 0: failed; its worker process was killed",
        f"[3/3] control: {place} triplet dim 32, 2 epochs, seed 0: done",
    ]


def test_a_run_with_nothing_to_do_says_so():
    assert drawn([Event("stored", ONE)], force_terminal=False) == "1 cells, 1 done before\n"


def test_what_a_rule_decides_is_told_on_lines_of_its_own():
    said = ("contrastive drops out at 2 seeds: triplet is better.", "Decided: triplet leads.")
    decided = Event("decided", ONE, decision=Decision(2, ("triplet",), (), said))
    lines = drawn([Event("stored", ONE), decided, Event("planned", TWO)], force_terminal=False).splitlines()
    place = f"{ONE.dataset.label} {ONE.backbone.label}"
    assert lines == ["1 cells, 1 done before", *(f"{place}: {line}" for line in said), "1 cells, 0 done before"]
    assert said[1] in drawn([decided], force_terminal=True)


def test_a_bar_for_the_matrix_and_for_every_job_on_a_terminal():
    text = drawn(force_terminal=True)
    assert "matrix" in text
    assert "9/9" in text.replace(" ", "")  # two epochs and the evaluation of each of three jobs


def test_a_narrow_terminal_shows_the_bar_and_the_end_of_each_name():
    started = [Event("planned", ONE), Event("started", ONE), Event("epoch", ONE, 1)]
    lines = drawn(started, width=80, force_terminal=True).splitlines()
    (line,) = {line for line in lines if "triplet seed 0" in line and "1/2" in line}
    assert "…" in line.partition("triplet")[0]
    assert "━" in line
    assert "epochs" in line


def test_a_run_that_is_to_stop_says_once_what_it_waits_for():
    running = [Event("planned", ONE), Event("planned", TWO), Event("started", ONE), Event("started", TWO)]
    stopping = [Event("stopping", ONE), Event("stopping", TWO), Event("stopped", ONE), Event("done", TWO, 2)]
    assert drawn(running + stopping, force_terminal=False).splitlines() == [
        "2 cells, 0 done before",
        "stopping after the current step, to write checkpoints; once more (Ctrl-C) stops at once",
        f"[1/2] {TWO.dataset.label} {TWO.backbone.label} contrastive seed 0: done",
    ]


def test_what_a_line_shows_moves_no_terminal():
    failed = [Event("planned", ONE), Event("started", ONE), Event("failed", ONE, 0, "ValueError: \x1b[2Jgone")]
    for terminal in (True, False):
        assert r"failed; ValueError: \x1b[2Jgone" in drawn(failed, force_terminal=terminal)


def test_a_job_of_another_run_is_named_once_and_counts_when_it_ends():
    taken = Event("elsewhere", ONE, 1, "tower, process 12", of=2)
    events = [Event("planned", ONE), Event("planned", TWO), taken, Event("done", TWO), taken, Event("done", ONE)]
    place = f"{ONE.dataset.label} {ONE.backbone.label}"
    assert drawn(events, force_terminal=False).splitlines() == [
        "2 cells, 0 done before",
        f"{place} triplet seed 0: another run has it (tower, process 12)",
        f"[1/2] {place} contrastive seed 0: done",
        f"[2/2] {place} triplet seed 0: done",
    ]
    assert "6/6" in drawn(events, force_terminal=True).replace(" ", "")
