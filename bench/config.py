"""What is run: the matrix file and the job, and the key that names a job's results."""

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.catalogue import did_you_mean
from bench.recipe import LATER, Recipe, Validation

__all__ = [
    "PROTOCOL",
    "TRAINED",
    "ConfigError",
    "Job",
    "Kind",
    "Matrix",
    "Part",
    "headline",
    "load",
    "matrices",
    "sentences",
]

PROTOCOL = 1
"""Raised when the harness changes what a job computes, so that old rows are never mixed with new ones."""

MATRICES = Path(__file__).parent / "matrices"

Kind = Literal["loss", "ensemble", "model_ensemble", "floor"]
TRAINED = ("loss", "ensemble")
"""Kinds that are trained; the others are made of stored embeddings or of images."""


class ConfigError(ValueError):
    """The request is wrong; each line is one sentence that says what to do."""


class Part(BaseModel):
    """One entry of a matrix: a name, or a table of a name and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    parameters: dict[str, Any] = {}
    members: tuple["Part", ...] = ()
    label: str = ""
    recipe: dict[str, Any] = {}
    seeds: int = Field(1, ge=1, strict=True, description="model ensembles: seeds of each member that are fused")

    @model_validator(mode="before")
    @classmethod
    def _table(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, dict) or "parameters" in raw:
            return raw
        own = {key: raw[key] for key in raw.keys() & {"name", "members", "label", "recipe", "seeds"}}
        return {**own, "parameters": {key: value for key, value in raw.items() if key not in own}}

    def identity(self) -> dict[str, Any]:
        """What decides the result: not the label, and the recipe only once it is merged into the job's."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "members": [part.identity() for part in self.members],
        }


class Job(BaseModel):
    """One cell of the matrix, every parameter resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Part
    backbone: Part
    objective: Part
    kind: Kind
    seed: int
    recipe: Recipe
    members: tuple["Job", ...] = ()
    """The jobs whose embeddings a model ensemble fuses."""
    control: bool = False
    """Whether it is there for an ensemble to be held against. What it computes does not depend on that."""

    def changed(self, **fields: Any) -> "Job":
        """The same job but for these fields, and so with a key of its own."""
        return Job(**{name: getattr(self, name) for name in Job.model_fields} | fields)

    def identity(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        parts = {name: getattr(self, name).identity() for name in ("dataset", "backbone", "objective")}
        recipe = {k: v for k, v in self.recipe.model_dump(mode="json").items() if k not in LATER or v != LATER[k]}
        rest = {"kind": self.kind, "seed": self.seed, "recipe": recipe}
        return {**parts, **rest, "members": [job.key for job in self.members], "protocol": PROTOCOL}

    @cached_property
    def key(self) -> str:
        """A readable prefix and a hash of the identity: the name of the job's folder."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:12]
        words = (self.dataset.name, self.backbone.name, self.objective.name, f"s{self.seed}", digest)
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)


class Matrix(BaseModel):
    """backbones × (losses + ensembles + model ensembles + floors) × datasets × seeds, and one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: tuple[Part, ...] = Field(min_length=1)
    backbones: tuple[Part, ...] = Field(min_length=1)
    losses: tuple[Part, ...] = ()
    ensembles: tuple[Part, ...] = ()
    model_ensembles: tuple[Part, ...] = ()
    floors: tuple[Part, ...] = ()
    """What needs no learning, for the learned to be seen beside."""
    seeds: Annotated[tuple[Annotated[int, Ge(0)], ...], Field(min_length=1)] = (0,)
    controls: bool = True
    """Whether ensembles are held against their best member at equal size and at equal cost."""
    recipe: Recipe = Recipe()

    @field_validator("seeds", mode="before")
    @classmethod
    def _count(cls, raw: Any) -> Any:
        return tuple(range(raw)) if isinstance(raw, int) and not isinstance(raw, bool) else raw

    @model_validator(mode="after")
    def _something_to_run(self) -> "Matrix":
        if not self.losses and not self.ensembles:
            raise ValueError("losses and ensembles are both empty; name at least one of either")
        return self


def matrices() -> dict[str, Path]:
    """The matrices that come with the project, by name."""
    return {path.stem: path for path in sorted(MATRICES.glob("*.toml"))}


def headline(path: Path) -> str:
    """The comment that a matrix file begins with."""
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def load(matrix: str, changes: Sequence[str] = ()) -> Matrix:
    """Read a matrix by name or path, with `key.key=value` changes applied.

    Raises:
        ConfigError: there is no such file, it is not TOML in UTF-8, or an entry is unknown or of the wrong type.
    """
    path = matrices().get(matrix, Path(matrix))
    try:
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError:
        raise ConfigError(f"{matrix}: no such matrix file{did_you_mean(matrix, matrices())}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; save the matrix as UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML; {error}") from None
    for change in changes:
        _apply(raw, change)
    try:
        return Matrix.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error))) from None


def _apply(raw: dict[str, Any], change: str) -> None:
    """Set one value: `recipe.epochs=3`. What is not a TOML value is taken as text."""
    dotted, equals, text = change.partition("=")
    *folders, last = dotted.strip().split(".")
    if not equals or not last:
        raise ConfigError(f"--set {change}: write it as key=value, for example recipe.epochs=3")
    for folder in folders:
        raw = raw.setdefault(folder, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {change}: {folder} is not a table")
    try:
        raw[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raw[last] = text.strip()


def sentences(error: ValidationError, *, inside: tuple[str, ...] = ()) -> list[str]:
    """What a validation of the table `inside` a matrix found, one sentence a problem."""
    return [
        _sentence(found["type"], (*inside, *found["loc"]), found["msg"], found["input"]) for found in error.errors()
    ]


def _sentence(kind: str, where: tuple[int | str, ...], message: str, value: Any) -> str:
    dotted = ".".join(str(step) for step in where)
    if kind == "extra_forbidden":
        models: dict[str, type[BaseModel]] = {"recipe": Recipe, "validation": Validation}
        known = models.get(str(where[-2]) if len(where) > 1 else "", Matrix).model_fields
        return f"{dotted}: unknown{did_you_mean(str(where[-1]), known)}"
    if kind == "missing":
        return f"{dotted}: missing; a matrix needs {where[-1]}"
    if kind == "too_short":
        return f"{dotted}: empty; name at least one"
    text = message.removeprefix("Value error, ").replace("Input should", "it should")
    return f"{dotted}: {text}, not {value!r}" if dotted and kind != "value_error" else text
