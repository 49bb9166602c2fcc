"""The outcome of a regression check: as text for a terminal, as Markdown, as JUnit XML and as JSON values."""

import math
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as xml

from tabulate import tabulate

from bench.analysis.regression import FAILED, Checked, CheckedBoard, Verdict
from bench.report.markdown import markdown_table, plain
from bench.report.tables import Cell, Table, percent
from bench.scoring.names import NONE, metric_name
from bench.stats.regression_gate import CANNOT_TELL, SAME_BITS, WORSE

__all__ = ["headline", "junit", "markdown", "text", "values"]

HEADS = ("method", "verdict", "baseline", "fresh", "drop", "at most")
LEGEND = (
    "Points of the score × 100. At most: one-sided 95 % upper bound of the drop. Worse: surely lower (Holm over the "
    "changed methods and their mean, 1 % in all) by 0.5 points, the mean of all by 0.25."
)


def headline(found: Checked) -> str:
    """The outcome in one sentence."""
    bad = [f"{one.label} {one.verdict}" for one in found.verdicts if one.verdict in (WORSE, FAILED)]
    if bad:
        return f"Worse than the baseline: {', '.join(dict.fromkeys(bad))}."
    if all(one.verdict == SAME_BITS for one in found.verdicts) and not found.absent:
        return "Same bits: every embedding and every first hit is that of the baseline."
    open_ = sum(one.verdict == CANNOT_TELL for one in found.verdicts)
    parts = [f"{open_} of {len(found.verdicts)} verdicts cannot be told" if open_ else "Not worse than the baseline"]
    count = len(found.absent)
    parts += [f"{count} method{'s have' if count > 1 else ' has'} no baseline"] if count else []
    return f"{'; '.join(parts)}."


def text(found: Checked) -> str:
    """Tables and sentences for a terminal."""
    blocks = []
    for board in found.boards:
        rows = [_row(one) for one in board.verdicts]
        align = ("left", "left", *["right"] * 4)
        table = tabulate(rows, HEADS, tablefmt="plain", disable_numparse=True, colalign=align)
        blocks.append("\n".join([_title(board, found), table, *_reasons(board)]))
    return "\n\n".join([*blocks, "\n".join([headline(found), *_beside(found)])])


def markdown(found: Checked | None, problems: Sequence[str] = ()) -> str:
    """A summary for the page of a CI job; `problems` say why nothing could be compared."""
    if found is None:
        return "\n\n".join(["## bench check: nothing was compared", *map(plain, problems)]) + "\n"
    parts = [f"## bench check: {plain(headline(found))}"]
    for board in found.boards:
        rows = tuple(
            tuple(Cell(word, marked=one.verdict in (WORSE, FAILED)) for word in _row(one)) for one in board.verdicts
        )
        parts += [plain(_title(board, found)), markdown_table(Table(HEADS, rows, texts=2))]
        parts += ["\n".join(f"- {plain(sentence)}" for sentence in _reasons(board))]
    parts += [plain(sentence) for sentence in (*_beside(found), LEGEND)]
    return "\n\n".join(part for part in parts if part) + "\n"


def junit(found: Checked | None, problems: Sequence[str] = (), *, strict: bool = False) -> str:
    """JUnit XML: one test per verdict; `problems` are errors of the whole, where nothing could be compared."""
    suite = xml.Element("testsuite", name="bench check")
    for sentence in problems:
        xml.SubElement(_case(suite, "baseline", "bench check"), "error", message=_visible(sentence))
    for board in found.boards if found else ():
        for one in board.verdicts:
            case = _case(suite, one.label, f"{board.dataset}, {board.backbone}")
            _outcome(case, one.verdict in (WORSE, FAILED), one.verdict == CANNOT_TELL, _said(one), strict=strict)
    for label, reason in found.absent if found else ():
        _outcome(_case(suite, label, "no baseline"), False, True, reason, strict=strict)
    kinds = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
    kinds["skipped"] = "testcase/skipped"
    for name, path in kinds.items():
        suite.set(name, str(len(suite.findall(path))))
    xml.indent(suite)
    return xml.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def values(found: Checked) -> dict[str, Any]:
    """As JSON: scores and drops in [-1, 1], null for no number."""
    boards = [
        {
            "dataset": board.dataset,
            "backbone": board.backbone,
            "paired": board.paired,
            "methods": [_numbers(one) for one in board.methods],
            "mean": _numbers(board.mean),
        }
        for board in found.boards
    ]
    return {
        "outcome": headline(found),
        "regressed": found.regressed,
        "undecided": found.undecided,
        "baseline": found.source,
        "metric": found.metric,
        "seeds": found.seeds,
        "boards": boards,
        "absent": [one._asdict() for one in found.absent],
        "notes": list(found.notes),
    }


def _numbers(one: Verdict) -> dict[str, Any]:
    found = one._asdict()
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def _title(board: CheckedBoard, found: Checked) -> str:
    old = {one.seeds[0] for one in board.methods}
    there = str(old.pop()) if len(old) == 1 else f"{min(old)} to {max(old)}"
    how = ", seed by seed" if board.paired else ""
    seeds = f"{found.seeds} fresh seed{'s' * (found.seeds > 1)} against {there} of {found.source}{how}"
    return f"{board.dataset}, {board.backbone}, {metric_name(found.metric)}: {seeds}"


def _row(one: Verdict) -> tuple[str, ...]:
    numbers = (one.baseline, one.fresh, one.drop, one.upper)
    return (one.label, one.verdict, *map(_points, numbers))


def _points(value: float) -> str:
    return percent(value, math.nan) if math.isfinite(value) else NONE


def _reasons(board: CheckedBoard) -> list[str]:
    return [f"{one.label}: {said}" for one in board.verdicts if (said := _said(one))]


def _said(one: Verdict) -> str:
    """What is to be known of a verdict, in a sentence; empty where it speaks for itself."""
    match one.verdict:
        case "failed":
            return f"{one.reason.rstrip('.')}."
        case "worse":
            p = f"{one.p:.2g}" if one.p >= 0.0001 else "below .0001"
            return f"fell by {_points(one.drop)} points (p {p} after Holm's correction)."
        case "cannot tell" if math.isfinite(one.seen):
            because = f"; {one.reason}" if one.reason else ""
            return f"a drop of {_points(one.seen)} points would be seen three times in four{because}."
        case "cannot tell":
            return f"{one.reason.rstrip('.')}."
    return ""


def _beside(found: Checked) -> list[str]:
    absent = [f"{label} is not compared: {reason}." for label, reason in found.absent]
    return [*absent, *found.notes]


def _case(suite: xml.Element, name: str, group: str) -> xml.Element:
    return xml.SubElement(suite, "testcase", name=_visible(name), classname=_visible(group))


def _outcome(case: xml.Element, bad: bool, unknown: bool, said: str, *, strict: bool) -> None:
    """A failure, or what is skipped because it cannot be told, which is a failure too where one is strict."""
    if bad or (unknown and strict):
        xml.SubElement(case, "failure", message=_visible(said))
    elif unknown:
        xml.SubElement(case, "skipped", message=_visible(said))


def _visible(text: str) -> str:
    """Without what XML does not allow: an error message may hold anything."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
