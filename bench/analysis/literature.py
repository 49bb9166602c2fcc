"""Published results beside a board, and what keeps each from being compared with its measured lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.analysis import published
from bench.analysis.board_lines import FIRST, Line
from bench.analysis.boards import Board
from bench.analysis.published import PUBLISHED_NAMES, Result, results
from bench.matrix.catalogue import entries
from bench.matrix.job import NEWER, Job, Part

__all__ = ["FIELDS", "Beside", "Literature", "literature"]

TRUNKS = {"timm/resnet50": "ResNet50"}
"""The catalogue's name of a trunk, without the tag -> the literature's. timm has no BN-Inception and no GoogLeNet."""
CHANGES: Mapping[str, Any] = {**NEWER, "levels": 1}
"""Parameters of a backbone, at what leaves the trunk and its head as the literature has them."""
KINDS = {
    "loss": "individual",
    "control": "individual",
    "ensemble": "loss_ensemble",
    "model_ensemble": "model_ensemble",
}
"""Kind of a line -> the literature's."""
FIELDS = ("trunk", "width", "kind", "crop", "pretraining", "epoch choice", "interval")
"""What must be known of both sides and, but for the interval, be equal."""
STATED = "stated"


class Beside(NamedTuple):
    """A published result, held against the first measured line."""

    result: Result
    differ: tuple[str, ...]
    """The FIELDS that are known of both sides, and not equal."""
    unknown: tuple[str, ...]
    """The FIELDS that one side does not state."""
    difference: float | None
    """Recall@1 of the measured line less the published one, in [-1, 1]; None unless the two are comparable."""

    @property
    def comparable(self) -> bool:
        """Whether every field is known and agrees."""
        return not (self.differ or self.unknown)


class Literature(NamedTuple):
    """What papers report on the dataset of a board."""

    dataset: str
    """The literature's name of it."""
    trunk: str
    """The board's, in the literature's name where it has one."""
    measured: tuple[Line, ...]
    """The leading lines by Recall@1, or without a leading group the one with the highest mean; never empty."""
    beside: tuple[Beside, ...]
    """What is nearest to the protocol of the first measured line comes first, then by Recall@1; never empty."""
    silent: tuple[str, ...]
    """The FIELDS that none of these results states."""


def literature(board: Board, file: Path | None = None) -> Literature | None:
    """Published results on the dataset of a board; None where there are none, or the board has no scores.

    Published is a dataset with all its parameters at their defaults, and all of its data: with other classes, another
    size or pictures left out it is another one. The results are those of `file`, by default the package's.

    Raises:
        PublishedError: see `results`.
    """
    measured = _leading(board)
    if board.whole is None or not measured or not _as_published(board.whole.dataset):
        return None
    own, listed = _protocol(board.whole, measured[0]), results(file or published.FILE)
    found = [_beside(one, own, measured[0]) for one in listed if one.dataset == board.whole.dataset.name]
    if not found:
        return None
    stated = [_stated(one.result) for one in found]
    silent = tuple(name for name in FIELDS if all(one[name] is None for one in stated))
    name = PUBLISHED_NAMES[board.whole.dataset.name]
    return Literature(name, _trunk(board.whole.backbone), measured, tuple(sorted(found, key=_nearness)), silent)


def _as_published(dataset: Part) -> bool:
    known = dataset.name in PUBLISHED_NAMES and dataset.plugin is None and not dataset.contents
    if not known:
        return False
    usual = entries("datasets")[dataset.name].parameters
    return all(name in usual and value == usual[name].default for name, value in dataset.parameters.items())


def _leading(board: Board) -> tuple[Line, ...]:
    scored = [line for line in board.lines if FIRST in line.scores and line.kind not in {"control", "floor"}]
    return tuple(line for line in scored if line.cell in board.leading.get(FIRST, ())) or tuple(scored[:1])


def _protocol(job: Job, line: Line) -> dict[str, str | None]:
    """What is known of how a line was measured, by the names of FIELDS."""
    interval = line.scores[FIRST].half_width
    several = "validation.folds" in line.recipe
    return {
        "trunk": None if job.backbone.plugin else _trunk(job.backbone),
        "width": None if line.dim is None else str(line.dim),
        "kind": "model_ensemble" if several else KINDS.get(line.kind),
        "crop": _crop(line.recipe, job.dataset),
        "pretraining": _pretraining(job.backbone),
        "epoch choice": _epoch_choice(line.recipe),
        "interval": STATED if interval == interval else None,  # NaN where there is one seed
    }


def _trunk(backbone: Part) -> str:
    name = backbone.name.partition(".")[0]
    changed = [f"{key}={backbone.parameters[key]}" for key in CHANGES if _is_changed(backbone, key)]
    return TRUNKS.get(name, name) + (f" ({', '.join(changed)})" if changed else "")


def _is_changed(backbone: Part, key: str) -> bool:
    return bool(backbone.parameters.get(key, CHANGES[key]) != CHANGES[key])


def _pretraining(backbone: Part) -> str | None:
    """timm's tag of the weights, for two of one corpus differ too; "none" for random ones, None for a local file's."""
    if backbone.parameters.get("weights") is not None:
        return None
    if not backbone.parameters.get("pretrained"):
        return "none"
    return backbone.name.partition(".")[2] or None


def _crop(recipe: Mapping[str, str], dataset: Part) -> str | None:
    """The crop of the middle square: a crop of the whole photo is another one."""
    side = recipe.get("crop")
    if side is None:
        return None
    middle = f"the middle square at {dataset.parameters.get('size', 'its usual size')}"
    return middle if side == "null" else f"{side} of {middle}"


def _epoch_choice(recipe: Mapping[str, str]) -> str | None:
    select, held_out = recipe.get("select"), recipe.get("validation") != "null"
    return select and f"{select}, with classes held out" if held_out else select


def _stated(result: Result) -> dict[str, str | None]:
    """What is known of how a result was measured, by the names of FIELDS."""
    return {
        "trunk": result.trunk,
        "width": None if result.dim is None else str(result.dim),
        "kind": result.kind,
        "crop": result.crop,
        "pretraining": result.pretraining,
        "epoch choice": result.epoch_choice,
        "interval": STATED if FIRST in result.half_widths else None,
    }


def _beside(result: Result, own: Mapping[str, str | None], line: Line) -> Beside:
    theirs = _stated(result)
    unknown = tuple(name for name in FIELDS if own[name] is None or theirs[name] is None)
    differ = tuple(name for name in FIELDS if name not in unknown and own[name] != theirs[name])
    comparable = not (differ or unknown) and FIRST in result.scores
    difference = line.scores[FIRST].mean - result.scores[FIRST] if comparable else None
    return Beside(result, differ, unknown, difference)


def _nearness(one: Beside) -> tuple[int, int, float, Sequence[str]]:
    result = one.result
    words = (result.method, result.paper, result.trunk or "", str(result.dim), result.source)
    return len(one.differ), len(one.unknown), -result.scores.get(FIRST, 0.0), words
