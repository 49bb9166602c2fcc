"""Galleries of the HTML page: what one method finds and another does not, in pictures or, for vectors, in labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup

from bench.analysis.boards import Board
from bench.analysis.found_by_one import NEIGHBOURS, Example, Strip
from bench.analysis.galleries import EXAMPLES, Direction, Gallery, Pair, Weakness
from bench.analysis.galleries import galleries as chosen
from bench.datasets.split import Images, Split, are_vectors, legible, without_control
from bench.report.page.templates import template
from bench.report.thumbnails import thumbnail

__all__ = ["BUDGET", "Galleries", "galleries"]

BUDGET = 2_700_000
"""Bytes that the galleries add to a page at most, pictures and text together, unless headings alone take more."""
LONGEST = 300
"""Characters of a class name or of a method's label; the rest is cut off."""


class Galleries(NamedTuple):
    """What the page shows, and what is to be said of what it does not show."""

    html: Mapping[tuple[str, str], Markup]
    """By labels of dataset and backbone."""
    problems: tuple[str, ...]


class _Side(NamedTuple):
    """Where the pictures of one side are from."""

    images: Images
    what: str


class _Pictures:
    """Every picture of the page once, by where it is from; numbered as they come."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self._numbers: dict[tuple[str, str, int], int] = {}

    def number(self, split: Split, side: _Side, row: int) -> int | None:
        """Its number; None for a vector."""
        if are_vectors(split):
            return None
        place = (split.sha, side.what, row)
        if place not in self._numbers:
            self._numbers[place] = len(self.uris)
            self.uris.append(thumbnail(side.images.images[row]))
        return self._numbers[place]


def galleries(
    boards: Sequence[Board], rows: pd.DataFrame, results: Path, data: Path | None, *, budget: int = BUDGET
) -> Galleries:
    """The galleries of all boards, with at most `budget` bytes together: all lists are shortened alike to keep it.

    Args:
        boards: as they are on the page.
        rows: as `bench.load` gives them.
        results: folder or packed file of the rows, with what is stored of every query.
        data: data folder with one subfolder per dataset.
        budget: bytes.
    """
    pictures = _Pictures()
    views: list[dict[str, Any]] = []
    problems: list[str] = []
    for found in chosen(list(boards), rows, results, data):
        views.append(_view(found, pictures))
        problems += found.problems
    shown = _rendered(views, pictures.uris, 0)
    for most in range(1, EXAMPLES + 1):
        longer = _rendered(views, pictures.uris, most)
        if sum(len(html.encode()) for html in longer.values()) > budget:
            break
        shown = longer
    return Galleries(shown, tuple(problems))


def _rendered(views: Sequence[dict[str, Any]], uris: Sequence[str], most: int) -> dict[tuple[str, str], Markup]:
    """The galleries with at most `most` examples in each list; a picture is where it is used first."""
    seen = set[int]()
    found = {}
    for place, view in enumerate(views):
        lists = [one["shown"][:most] for one in view["lists"]]
        used = dict.fromkeys(number for shown in lists for one in shown for number in _numbers(one))
        new = [(number, uris[number]) for number in used if number not in seen]
        seen.update(used)
        found[view["board"]] = Markup(
            template("gallery.html.jinja").render(
                view=view, most=most, asked=EXAMPLES, neighbours=NEIGHBOURS, pictures=new, first=not place
            )
        )
    return found


def _numbers(example: dict[str, Any]) -> list[int]:
    shots = [example["query"], *(shot for strip in example["strips"] for shot in strip["shots"])]
    return [shot["picture"] for shot in shots if shot["picture"] is not None]


def _view(found: Gallery, pictures: _Pictures) -> dict[str, Any]:
    """All that the template shows of a board, in words."""
    split, weak = found.split, found.weakness
    pairs = [_pair(pair, split, pictures) for pair in found.pairs if split]
    worst = _weakness(weak, split, pictures) if weak and split else None
    return {
        **{"board": found.board, "problems": found.problems, "queries": found.queries, "stored": found.stored},
        "pairs": pairs,
        "worst": worst,
        "lists": [*(one for pair in pairs for one in pair["directions"]), *([worst] if worst else [])],
        "confusions": _confusions(weak, split) if weak and split else [],
    }


def _pair(pair: Pair, split: Split, pictures: _Pictures) -> dict[str, Any]:
    return {
        "title": pair.title,
        "seed": pair.seed,
        "directions": [_direction(one, split, pictures) for one in pair.directions],
    }


def _direction(one: Direction, split: Split, pictures: _Pictures) -> dict[str, Any]:
    labels = (_short(one.finder), _short(one.other))
    shown = [_example(example, labels, split, pictures) for example in one.shown]
    return {"finder": labels[0], "other": labels[1], "count": one.total, "shown": shown}


def _weakness(weak: Weakness, split: Split, pictures: _Pictures) -> dict[str, Any]:
    label = _short(weak.label)
    shown = [_example(example, (label,), split, pictures) for example in weak.shown]
    return {"label": label, "seed": weak.seed, "count": weak.missed, "shown": shown}


def _confusions(weak: Weakness, split: Split) -> list[dict[str, Any]]:
    names, others = (_side(split, gallery=gallery).images.classes for gallery in (False, True))
    return [
        {"asked": _short(names[one.asked]), "taken": _short(others[one.taken_for]), "count": one.times, "of": one.of}
        for one in weak.confusions
    ]


def _example(example: Example, labels: tuple[str, ...], split: Split, pictures: _Pictures) -> dict[str, Any]:
    side = _side(split, gallery=False)
    strips = zip(labels, example.strips, strict=True)
    return {
        "query": _shot(example.query, side, split, pictures),
        "strips": [_strip(label, strip, example.query, split, pictures) for label, strip in strips],
    }


def _strip(label: str, strip: Strip, query: int, split: Split, pictures: _Pictures) -> dict[str, Any]:
    side, own = _side(split, gallery=True), split.test.labels[query]
    shots = [
        {**_shot(row, side, split, pictures), "right": bool(side.images.labels[row] == own)} for row in strip.neighbours
    ]
    return {"label": label, "first_hit": strip.first_hit, "shots": shots}


def _side(split: Split, *, gallery: bool) -> _Side:
    """The queries, or what is offered to them."""
    apart = gallery and split.gallery is not None
    images = split.gallery if apart and split.gallery is not None else split.test
    return _Side(images, "gallery" if apart else "test")


def _shot(row: int, side: _Side, split: Split, pictures: _Pictures) -> dict[str, Any]:
    name = _short(side.images.classes[side.images.labels[row]])
    kind = "vector" if are_vectors(split) else "image"
    return {"picture": pictures.number(split, side, row), "name": name, "place": f"{side.what} {kind} {row}"}


def _short(text: str) -> str:
    """Text that can be printed, on one line, and not too long."""
    whole = without_control(legible(text))
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 1]}…"
