"""Which line of a board a user means by a label, a key or a cell."""

from collections.abc import Iterable, Sequence

from bench.analysis.methods_of_rows import ScoredBoard, Source
from bench.matrix.catalogue import did_you_mean
from bench.matrix.job import ConfigError

__all__ = ["Unknown", "chosen_boards", "named"]


class Unknown(ConfigError):
    """No board has a method of this name."""


def chosen_boards(found: Sequence[ScoredBoard], dataset: str | None) -> list[ScoredBoard]:
    """The boards of a dataset, by its label or by what stands before the bracket of its label; all for None.

    Raises:
        ConfigError: no board has that dataset.
    """
    if dataset is None:
        return list(found)
    stems = [one.board.dataset.partition("(")[0].strip() for one in found]
    exact = [one for one in found if one.board.dataset == dataset]
    kept = exact or [one for one, stem in zip(found, stems, strict=True) if stem == dataset]
    if not kept:
        raise ConfigError(f"there is no dataset {dataset!r}{did_you_mean(dataset, set(stems))}")
    return kept


def named(found: Sequence[ScoredBoard], name: str, source: Source) -> dict[int, int]:
    """For each board (by its place in `found`) that has the method, the place of its line.

    Raises:
        Unknown: no board has it; the sentence says why, or asks "did you mean ...?".
        ConfigError: two lines of one board have this label.
    """
    places = {at: place for at, one in enumerate(found) if (place := _place(one, name)) is not None}
    if not places:
        raise Unknown(_why_unknown(found, name, source))
    return places


def _place(one: ScoredBoard, name: str) -> int | None:
    tests = (
        [method.label == name for method in one.methods],
        [name == line.cell or name in line.keys for line in one.lines],
        [line.objective == name for line in one.lines],
    )
    places = next((hits for test in tests if (hits := [at for at, hit in enumerate(test) if hit])), [])
    if len(places) > 1:
        choices = ", ".join(f"{one.methods[at].label!r} (cell {one.lines[at].cell})" for at in places)
        raise ConfigError(
            f"{name!r} stands for {len(places)} methods on {one.board.dataset}: name one of {choices} instead."
        )
    return places[0] if places else None


def _why_unknown(found: Sequence[ScoredBoard], name: str, source: Source) -> str:
    unfinished = [part for one in found for part in one.board.unfinished if name == part.label]
    if unfinished:
        reason = unfinished[0].reason.rstrip(".")
        return f"{name!r} has no scores in {source.path}: it is {unfinished[0].status} ({reason})."
    rows = source.rows
    older = rows[(rows["objective"] == name) | (rows["key"] == name) | (rows["cell"] == name)]
    newest = int(rows["protocol"].max())
    if len(older) and (older["protocol"] < newest).all():
        return (
            f"{name!r} was measured under protocol {older['protocol'].max()} only, the other rows of {source.path} "
            f"under protocol {newest}: they are not comparable, so run it again."
        )
    datasets = {one.board.dataset for one in found}
    where = f"{source.path}, {datasets.pop()}" if len(datasets) == 1 else str(source.path)
    return f"there is no method {name!r} in {where}{did_you_mean(name, _labels(found))}"


def _labels(found: Sequence[ScoredBoard]) -> Iterable[str]:
    return dict.fromkeys(method.label for one in found for method in one.methods)
