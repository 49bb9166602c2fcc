"""The recipe: how every objective of a matrix is trained and evaluated."""

import json
from collections.abc import Mapping
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

__all__ = ["LATER", "Recipe", "Validation", "complete", "only_fields"]

M = TypeVar("M", bound=BaseModel)

Share = Annotated[float, Ge(0), Le(1)]
Positive = Annotated[float, Gt(0)]
PositiveShare = Annotated[float, Gt(0), Le(1)]


class Validation(BaseModel):
    """Which training classes are held out: a share of them once, or each of several folds in its turn."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    share: Annotated[float, Gt(0), Lt(1)] | None = None
    folds: Annotated[int, Ge(2)] | None = None
    """One model per fold; their embeddings are compared side by side."""

    @field_validator("folds", mode="before")
    @classmethod
    def _whole(cls, raw: Any) -> Any:
        """A stored job has 4.0, which keys were made of."""
        return int(raw) if isinstance(raw, float) and raw.is_integer() else raw

    @model_validator(mode="after")
    def _one(self) -> "Validation":
        if (self.share is None) == (self.folds is None):
            raise ValueError("validation takes either share = 0.2 or folds = 4: write one of them")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, float]:
        written = {"share": self.share, "folds": self.folds}
        return {name: value for name, value in written.items() if value is not None}


class Recipe(BaseModel):
    """How every objective of a matrix is trained and evaluated; pydantic checks every field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")

    epochs: int = Field(10, ge=0, description="training epochs; 0 evaluates the untrained network")
    head_epochs: float = Field(
        0.0, ge=0, description="first epochs in which the trunk does not learn, only the head and the loss do"
    )
    dim: int = Field(128, ge=1, description="values per embedding; without a head, the trunk's own width")
    classes_per_batch: int = Field(32, ge=1, description="P of P × K batches")
    images_per_class: int = Field(4, ge=1, description="K of P × K batches")
    images_per_epoch: int | None = Field(
        None, ge=1, description="images that an epoch draws, of large data; null: as many as there are"
    )
    trunk_rate: float = Field(1e-3, ge=0, description="learning rate of the trunk")
    head_rate: float = Field(1e-3, ge=0, description="learning rate of the linear head")
    loss_rate: float = Field(1e-2, ge=0, description="learning rate of proxies, classifiers and ensemble weights")
    weight_decay: float = Field(1e-4, ge=0, description="weight decay of all trained parameters")
    optimizer: Literal["adamw", "adam", "rmsprop", "sgd"] = Field("adamw", description="adamw, adam, rmsprop or sgd")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of rmsprop and sgd")
    schedule: Literal["cosine", "step", "constant"] = Field(
        "cosine", description="learning rates: cosine down to 0, step or constant"
    )
    step_epochs: int = Field(10, ge=1, description="step schedule: epochs between two drops")
    step_factor: float = Field(0.5, gt=0, le=1, description="step schedule: factor of each drop")
    warmup_epochs: float = Field(0.0, ge=0, description="epochs of linear warm-up of all learning rates")
    clip: Positive | None = Field(None, description="largest norm of the gradient; null: no limit")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="number format of the model: float32 or bfloat16"
    )
    images_at_a_time: int | None = Field(
        None, ge=1, description="images whose memory is held at once, for large batches; null: the whole batch"
    )
    text: str = Field(
        "tfidf",
        min_length=1,
        description="what turns class texts into vectors: tfidf, or a sentence-transformers model",
    )
    rotation: float = Field(10.0, ge=0, le=180, description="augmentation: largest rotation, degrees")
    zoom: float = Field(0.1, ge=0, lt=1, description="augmentation: largest change of size, as a share")
    shift: Share = Field(0.1, description="augmentation: largest shift, as a share of the side")
    flip: bool = Field(False, description="augmentation: mirror half of the images")
    interpolation: Literal["nearest", "bilinear"] = Field(
        "bilinear", description="augmentation: how pixels are read between pixels: nearest or bilinear"
    )
    fill: Literal["edge", "black"] = Field(
        "edge", description="augmentation: what lies beyond the border: edge or black"
    )
    crop: int | None = Field(
        None, ge=8, description="side of random training crops and of the central test crop, pixels; null: none"
    )
    crop_area: tuple[PositiveShare, PositiveShare] = Field(
        (0.16, 1.0), description="area of the crop, share", strict=False
    )
    crop_ratio: tuple[Positive, Positive] = Field(
        (0.75, 4 / 3), description="width of the crop over its height", strict=False
    )
    validation: Validation | None = Field(None, description="training classes to hold out: share = 0.2, or folds = 4")
    validate_every: int = Field(1, ge=1, description="epochs between two evaluations of the held-out classes")
    select: Literal["last", "validation"] = Field(
        "last", description="which epoch is evaluated: last, or the one that validation selects"
    )
    recall_at: tuple[Annotated[int, Ge(1)], ...] = Field(
        (1, 2, 4, 8), min_length=1, strict=False, description="every K of Recall@K"
    )
    restarts: int = Field(5, ge=1, description="k-means restarts behind NMI and AMI")

    @model_validator(mode="after")
    def _consistent(self) -> "Recipe":
        if self.select == "validation" and self.validation is None:
            raise ValueError('select = "validation" needs held-out classes: add validation = { share = 0.2 }')
        for name in ("crop_area", "crop_ratio"):
            least, most = getattr(self, name)
            if least > most:
                raise ValueError(f"{name} = [{least}, {most}] goes from large to small: swap the two numbers")
        return self

    def __copy__(self) -> "Recipe":
        """Without what was worked out from its fields: `model_copy` may replace these."""
        return only_fields(super().__copy__())

    @cached_property
    def as_json(self) -> str:
        """Every field; many jobs share a recipe, and are told apart by it."""
        return self.model_dump_json()

    @property
    def identity_text(self) -> str:
        """What decides the result, as JSON: newer fields only where they change something."""
        return _identity_text(self.as_json)

    @property
    def models(self) -> int:
        """How many models a job trains."""
        return (self.validation.folds if self.validation else None) or 1

    @property
    def total_epochs(self) -> int:
        """Epochs of all its models together."""
        return self.epochs * self.models


@lru_cache
def _identity_text(recipe: str) -> str:
    decisive = {name: value for name, value in json.loads(recipe).items() if name not in LATER or value != LATER[name]}
    return json.dumps(decisive, sort_keys=True)


LATER: Mapping[str, Any] = MappingProxyType(
    {
        "images_per_epoch": None,
        "optimizer": "adamw",
        "momentum": 0.9,
        "interpolation": "bilinear",
        "fill": "edge",
        "crop": None,
        "crop_area": [0.16, 1.0],
        "crop_ratio": [0.75, 4 / 3],
        "validation": None,
        "validate_every": 1,
        "select": "last",
        "head_epochs": 0.0,
        "images_at_a_time": None,
    }
)
"""Fields of the recipe that came after rows were stored, at what was done before there were any.

There they are left out of a job's identity, so that the rows keep their keys; not at their defaults, which may change.
"""


def complete(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A stored recipe with every field, the newer ones last."""
    older = {name: value for name, value in recipe.items() if name not in LATER}
    return {**older, **{name: recipe.get(name, value) for name, value in LATER.items()}}


def only_fields(copied: M) -> M:
    """A copy of a frozen model without the cached properties that it took over."""
    for name in copied.__dict__.keys() - type(copied).model_fields.keys():
        del copied.__dict__[name]
    return copied
