"""What is run: the matrix file and the job, and the key that names a job's results."""

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.catalogue import did_you_mean

__all__ = [
    "PROTOCOL",
    "ConfigError",
    "Job",
    "Kind",
    "Matrix",
    "Part",
    "Recipe",
    "headline",
    "load",
    "matrices",
    "sentences",
]

PROTOCOL = 1
"""Raised when the harness changes what a job computes, so that old rows are never mixed with new ones."""

MATRICES = Path(__file__).parent / "matrices"

Kind = Literal["loss", "ensemble", "model_ensemble"]
Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]


class ConfigError(ValueError):
    """The request is wrong; each line is one sentence that says what to do."""


class Recipe(BaseModel):
    """How every objective of a matrix is trained and evaluated."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epochs: int = Field(10, ge=0, description="0 evaluates the untrained network")
    dim: int = Field(128, ge=1, description="width of the embedding; without a head the trunk's own width is used")
    classes_per_batch: int = Field(32, ge=1, description="P of P × K")
    images_per_class: int = Field(4, ge=1, description="K of P × K")
    trunk_rate: float = Field(1e-3, ge=0, description="learning rate of the trunk (AdamW)")
    head_rate: float = Field(1e-3, ge=0, description="learning rate of the linear head")
    loss_rate: float = Field(1e-2, ge=0, description="learning rate of proxies, classifiers and ensemble weights")
    weight_decay: float = Field(1e-4, ge=0)
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    step_epochs: int = Field(10, ge=1, description="step schedule: epochs between two drops")
    step_factor: float = Field(0.5, gt=0, le=1, description="step schedule: factor of a drop")
    warmup_epochs: float = Field(0.0, ge=0, description="linear warm-up of all learning rates")
    clip: Positive | None = Field(None, description="largest norm of the gradient")
    precision: Literal["float32", "bfloat16"] = "float32"
    text: str = Field("tfidf", min_length=1, description="class texts: tfidf, or a sentence-transformers model")
    rotation: float = Field(10.0, ge=0, le=180, description="augmentation: largest rotation, degrees")
    zoom: float = Field(0.1, ge=0, lt=1, description="augmentation: largest change of size, share")
    shift: Share = Field(0.1, description="augmentation: largest shift, share of the side")
    flip: bool = Field(False, description="augmentation: mirror half of the images")
    recall_at: tuple[Annotated[int, Ge(1)], ...] = Field((1, 2, 4, 8), min_length=1, strict=False)
    restarts: int = Field(5, ge=1, description="k-means restarts behind NMI and AMI")


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
        rest = {"kind": self.kind, "seed": self.seed, "recipe": self.recipe.model_dump(mode="json")}
        return {**parts, **rest, "members": [job.key for job in self.members], "protocol": PROTOCOL}

    @cached_property
    def key(self) -> str:
        """A readable prefix and a hash of the identity: the name of the job's folder."""
        digest = hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()[:12]
        words = (self.dataset.name, self.backbone.name, self.objective.name, f"s{self.seed}", digest)
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "_", word) for word in words)


class Matrix(BaseModel):
    """backbones × (losses + ensembles + model ensembles) × datasets × seeds, and one recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    datasets: tuple[Part, ...] = Field(min_length=1)
    backbones: tuple[Part, ...] = Field(min_length=1)
    losses: tuple[Part, ...] = ()
    ensembles: tuple[Part, ...] = ()
    model_ensembles: tuple[Part, ...] = ()
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
        known = Recipe.model_fields if where[0] == "recipe" else Matrix.model_fields
        return f"{dotted}: unknown{did_you_mean(str(where[-1]), known)}"
    if kind == "missing":
        return f"{dotted}: missing; a matrix needs {where[-1]}"
    if kind == "too_short":
        return f"{dotted}: empty; name at least one"
    text = message.removeprefix("Value error, ").replace("Input should", "it should")
    return f"{dotted}: {text}, not {value!r}" if dotted and kind != "value_error" else text
