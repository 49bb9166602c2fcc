"""What papers report on the field's datasets, as bench/published.csv lists it: read, checked, and in our names."""

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple, Self

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError, model_validator

from bench.matrix.job import ConfigError

__all__ = ["DATASETS", "FILE", "PUBLISHED_NAMES", "PublishedError", "Result", "results"]

FILE = Path(__file__).parents[1] / "published.csv"
DATASETS = {"CUB-200-2011": "cub200", "Cars196": "cars196", "SOP": "sop", "In-Shop": "inshop"}
"""The literature's name of a dataset -> the catalogue's."""
PUBLISHED_NAMES = {ours: theirs for theirs, ours in DATASETS.items()}
COLUMNS: Mapping[str, str | None] = {
    "R@K": "recall_at_{k}",
    "P@1": "recall_at_1",  # of one neighbour, both are the share of queries whose neighbour is of their class
    "RP": "r_precision",
    "MAP@R": "map_at_r",
    "NMI": "nmi",
    "F1": None,
    "MAP": None,
}
"""Metric of the file -> column of the rows; None where nothing here measures it."""
PROTOCOL = ("crop", "pretraining", "epoch_choice")
"""Columns that the file may have beside its usual ones: what is not stated there is not known."""

Text = Annotated[str, StringConstraints(min_length=1)]
Source = Annotated[str, StringConstraints(pattern=r'^https://[^\s()<>|"\\]+$')]
Percent = Annotated[float, Ge(0), Le(100)]


class PublishedError(ConfigError):
    """The file of published results is wrong: one sentence that says where, and what to do."""


class PublishedValue(BaseModel):
    """One line of the file: one value under one metric; what is blank there is None."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, allow_inf_nan=False)

    paper: Text
    year: Annotated[int, Ge(1990), Le(2100)]
    method: Text
    kind: Literal["individual", "loss_ensemble", "model_ensemble"]
    dataset: Literal["CUB-200-2011", "Cars196", "SOP", "In-Shop"]
    backbone: Text | None
    embedding_dim: Annotated[int, Ge(1)] | None
    metric: Literal["R@K", "P@1", "RP", "MAP@R", "NMI", "F1", "MAP"]
    k: Text | None
    value: Annotated[float, Gt(1), Le(100)]
    """In percent; a value up to 1 would be a share."""
    ci95: Percent | None
    """Half-width of the 95 % interval, in percent."""
    source_url: Source
    crop: Text | None = None
    pretraining: Text | None = None
    epoch_choice: Text | None = None

    @model_validator(mode="after")
    def _has_k(self) -> Self:
        if self.metric == "R@K" and not (self.k and self.k.isdecimal() and int(self.k) > 0):
            raise ValueError("R@K needs its K, a whole number above 0")
        return self

    @property
    def column(self) -> str | None:
        """The column of the rows that holds this metric."""
        name = COLUMNS[self.metric]
        return name and name.format(k=int(self.k or 0) if self.metric == "R@K" else "")


class Result(NamedTuple):
    """What one source reports of one method on one dataset."""

    paper: str
    year: int
    method: str
    kind: str
    """individual, loss_ensemble or model_ensemble."""
    dataset: str
    """The catalogue's name, such as "cub200"."""
    trunk: str | None
    dim: int | None
    crop: str | None
    pretraining: str | None
    epoch_choice: str | None
    source: str
    """Address of the page that the values were read from."""
    scores: Mapping[str, float]
    """By column of the rows, in [0, 1]; metrics that nothing here measures are left out."""
    half_widths: Mapping[str, float]
    """By column, of the 95 % interval, where one is reported."""


@cache
def results(file: Path = FILE) -> tuple[Result, ...]:
    """All results of the file, in its order; those without a metric that is measured here are left out.

    Raises:
        PublishedError: the file cannot be read, a line of it is wrong, or a value is there twice.
    """
    try:
        with file.open(encoding="utf-8", newline="") as text:
            values = _values(csv.DictReader(text, strict=True), file)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PublishedError(f"{file.name} cannot be read ({error}): install lossbench again.") from error
    found: dict[tuple[object, ...], dict[str, PublishedValue]] = {}
    for number, value in values:
        own = found.setdefault(_identity(value), {})
        if (name := value.column or value.metric) in own:
            raise PublishedError(f"{file.name}, line {number}: {value.metric} of this result is there twice.")
        own[name] = value
    return tuple(result for own in found.values() if (result := _result(own)).scores)


def _values(rows: "csv.DictReader[str]", file: Path) -> list[tuple[int, PublishedValue]]:
    """The lines with their numbers."""
    needed = [name for name in PublishedValue.model_fields if name not in PROTOCOL]
    names = list(rows.fieldnames or ())
    if missing := [name for name in needed if name not in names]:
        raise PublishedError(f"{file.name}: the column {missing[0]} is missing; the first line names the columns.")
    return [(rows.line_num, _value(row, f"{file.name}, line {rows.line_num}")) for row in rows]


def _value(row: Mapping[str, str | None], where: str) -> PublishedValue:
    if None in row or None in row.values():
        raise PublishedError(f"{where}: has more or fewer fields than the first line.")
    try:
        return PublishedValue.model_validate({name: (text or "").strip() or None for name, text in row.items()})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "metric"
        raise PublishedError(f"{where}: {field}: {first['msg']} ({str(first['input'])[:60]}).") from error


def _identity(value: PublishedValue) -> tuple[object, ...]:
    """All but the metric and its value."""
    apart = {"metric", "k", "value", "ci95"}
    return tuple(getattr(value, name) for name in PublishedValue.model_fields if name not in apart)


def _result(own: Mapping[str, PublishedValue]) -> Result:
    first, measured = next(iter(own.values())), {name: value for name, value in own.items() if value.column}
    return Result(
        paper=first.paper,
        year=first.year,
        method=first.method,
        kind=first.kind,
        dataset=DATASETS[first.dataset],
        trunk=first.backbone,
        dim=first.embedding_dim,
        crop=first.crop,
        pretraining=first.pretraining,
        epoch_choice=first.epoch_choice,
        source=first.source_url,
        scores=_shares({name: value.value for name, value in measured.items()}.items()),
        half_widths=_shares((name, value.ci95) for name, value in measured.items() if value.ci95 is not None),
    )


def _shares(percents: Iterable[tuple[str, float]]) -> Mapping[str, float]:
    return MappingProxyType({name: percent / 100 for name, percent in percents})
