"""The matrix file: reading it, changing single values, and saying in sentences what is wrong with it."""

import json
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.matrix.catalogue import did_you_mean, entries
from bench.matrix.changes import apply
from bench.matrix.job import ConfigError, Part
from bench.matrix.recipe import Recipe, Validation
from bench.matrix.searched import Searched

__all__ = ["Matrix", "headline", "load", "matrices", "sentences"]

MOST_CELLS = 100_000
"""Of a matrix. Months of work, and most likely a slip of the pen: more are refused before they fill the memory."""
MATRICES = Path(__file__).parents[1] / "matrices"


class Matrix(BaseModel):
    """backbones × (losses + ensembles + model ensembles + students + floors) × datasets × seeds, and one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: tuple[Part, ...] = Field(min_length=1)
    backbones: tuple[Part, ...] = Field(min_length=1)
    losses: tuple[Part, ...] = ()
    ensembles: tuple[Part, ...] = ()
    model_ensembles: tuple[Part, ...] = ()
    students: tuple[Part, ...] = ()
    """Models that learn from what others, their members, have stored."""
    floors: tuple[Part, ...] = ()
    """What needs no learning, for the learned to be seen beside."""
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], Field(min_length=1)] = (0,)
    controls: bool = True
    """Whether ensembles are held against their best member at equal size and at equal cost."""
    recipe: Recipe = Recipe()
    searched: Searched | None = None
    """How its settings were found, where a search found them; no part of any job."""

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, raw: Any) -> Any:
        if not isinstance(raw, int) or isinstance(raw, bool):
            return raw
        if raw > MOST_CELLS:
            raise ValueError(
                f"{raw:,} seeds make {raw:,} cells or more, and {MOST_CELLS:,} cells are the most: use fewer seeds"
            )
        return tuple(range(raw))

    @model_validator(mode="after")
    def _something_to_run(self) -> "Matrix":
        if not self.losses and not self.ensembles:
            raise ValueError("losses and ensembles are both empty; name at least one of either")
        lists = (self.losses, self.ensembles, self.model_ensembles, self.students, self.floors)
        objectives = sum(map(len, lists))
        cells = len(self.datasets) * len(self.backbones) * objectives * len(self.seeds)
        if cells > MOST_CELLS:
            raise ValueError(
                f"the matrix has {cells:,} cells, and {MOST_CELLS:,} are the most: use fewer seeds, or several "
                "matrices, which may share a folder of results"
            )
        return self


def matrices() -> dict[str, Path]:
    """The matrices that come with the project, by name."""
    return {path.stem: path for path in sorted(MATRICES.glob("*.toml"))}


def headline(path: Path) -> str:
    """The comment that a matrix file begins with."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def load(
    matrix: Matrix | str | Path, changes: Sequence[str] = (), *, seeds: int | None = None, skip_broken: bool = False
) -> Matrix:
    """Read a matrix by name or path, or take one, with `key.key=value` changes applied.

    Args:
        matrix: a matrix, the name of one that comes with the project, or the path of a file.
        changes: of single values.
        seeds: the seeds 0 to this number - 1 instead of the matrix's own.
        skip_broken: whether every dataset that can leaves out images that cannot be read.

    Raises:
        ConfigError: there is no such file, it is not TOML in UTF-8, or an entry is unknown or of the wrong type.
    """
    raw = matrix.model_dump() if isinstance(matrix, Matrix) else _read(str(matrix))
    for change in changes:
        apply(change, raw)
    if seeds is not None:
        raw["seeds"] = seeds
    try:
        found = Matrix.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error))) from None
    return _skipping(found) if skip_broken else found


def _read(matrix: str) -> dict[str, Any]:
    path = matrices().get(matrix, Path(os.path.expanduser(matrix)))
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"{matrix}: no such matrix file{did_you_mean(matrix, matrices())}") from None
    except OSError as error:
        raise ConfigError(f"{matrix}: cannot be opened ({error.strerror}); name a matrix file that can") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save the matrix as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML; {error}") from None


def _skipping(matrix: Matrix) -> Matrix:
    """The matrix with `skip_broken` set on every dataset that has it."""

    def able(name: str) -> bool:
        return name in entries("datasets") and "skip_broken" in entries("datasets")[name].parameters

    datasets = [
        part.model_copy(update={"parameters": {**part.parameters, "skip_broken": True}}) if able(part.name) else part
        for part in matrix.datasets
    ]
    return matrix.model_copy(update={"datasets": tuple(datasets)})


def sentences(error: ValidationError, *, inside: tuple[str, ...] = ()) -> list[str]:
    """What a validation of the table `inside` a matrix found, one sentence per problem."""
    return [
        _sentence(found["type"], (*inside, *found["loc"]), found["msg"], found["input"]) for found in error.errors()
    ]


def _sentence(kind: str, where: tuple[int | str, ...], message: str, value: Any) -> str:
    dotted = ".".join(str(step) for step in where)
    if kind == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"recipe": Recipe, "validation": Validation, "searched": Searched}
        known = models.get(str(where[-2]) if len(where) > 1 else "", Matrix).model_fields
        return f"{dotted}: unknown{did_you_mean(str(where[-1]), known)}"
    if kind == "missing":
        return f"{dotted}: missing; {'searched' if where[0] == 'searched' else 'a matrix'} needs {where[-1]}"
    if where and kind in {"tuple_type", "list_type"}:
        written = "a number or a list of numbers" if where[-1] == "seeds" else f"a list: {where[-1]} = {_listed(value)}"
        return f"{dotted}: write {written}, not {value!r}"
    if kind.startswith("model_") and len(where) > 1:
        return f"{dotted}: write a name, or a table with a name, not {value!r}"
    if kind == "too_short":
        return f"{dotted}: empty; name at least one"
    text = message.removeprefix("Value error, ").replace("Input should", "it should")
    return f"{dotted}: {text}, not {value!r}" if dotted and kind != "value_error" else text


def _listed(value: Any) -> str:
    """The list that was perhaps meant, as TOML has it."""
    return "[{ name = ... }]" if isinstance(value, dict) else json.dumps([value], default=str, ensure_ascii=False)
