"""The job: one cell of a matrix for one seed, every parameter resolved; its key names its results."""

import hashlib
import json
import re
from functools import cached_property, lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.matrix.printable import without_control
from bench.matrix.recipe import Recipe, complete, only_fields

__all__ = ["NEWER", "PLUGIN", "PROTOCOL", "TRAINED", "ConfigError", "Digests", "Job", "Kind", "Part", "Role"]

PROTOCOL = 1
"""Raised when the harness changes what a job computes, so that old rows are never mixed with new ones."""


Kind = Literal["loss", "ensemble", "model_ensemble", "student", "floor"]
Role = Kind | Literal["control"]
"""What a reader sees: a job is a control only beside the ensemble that is held against it."""
TRAINED = ("loss", "ensemble", "student")
"""Kinds that are trained; the others are made of stored embeddings or of images."""


DEEPEST = 60
"""Tables and lists inside each other in a stored job, at most: ensembles in ensembles come to a dozen."""
REVISIONS = {"timm": 2}
"""Parts that compute something else than when rows were first stored: raised, they give new keys to their jobs alone.

timm, 2: pooling leaves class, distillation and register tokens out.
"""

NEWER = MappingProxyType({"frozen": False, "hidden": None, "views": 0, "freeze_stages": 0, "initial_weights": None})
"""Parameters of backbones and losses that came after rows were stored, at what was done before there were any.

There they are left out of a job's identity, so that the rows keep their keys.
"""

PLUGIN = "plugin file"
"""What stands for a plugin among the contents of a part; no parameter can have that name."""


class ConfigError(ValueError):
    """The request is wrong; each line is one sentence that says what to do."""


class Part(BaseModel):
    """One entry of a matrix: a name, or a table of a name and its parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    parameters: dict[str, Any] = {}
    members: tuple["Part", ...] = ()
    label: str = ""
    """For readers, with control characters as escapes: it is shown as it is, in all places."""
    recipe: dict[str, Any] = {}
    seeds: int = Field(1, ge=1, strict=True, description="model ensembles: seeds of each member that are fused")
    contents: dict[str, str] = {}
    """SHA-256 of the file that a parameter names, by parameter: the content decides the result, not the path.

    So do weights of an installed package, under `pretrained`; without an entry there, timm's own are meant. Of a loss
    of pytorch-metric-learning it is the version: another one may compute another loss by the same name.

    Under PLUGIN that of the plugin which the part is from, so that a changed plugin gives new keys.
    """

    @model_validator(mode="before")
    @classmethod
    def _table(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return {"name": raw}
        if not isinstance(raw, dict) or "parameters" in raw:
            return raw
        own = {key: raw[key] for key in raw.keys() & {"name", "members", "label", "recipe", "seeds"}}
        return {**own, "parameters": {key: value for key, value in raw.items() if key not in own}}

    @field_validator("label")
    @classmethod
    def _printable(cls, label: str) -> str:
        return without_control(label)

    def __copy__(self) -> "Part":
        """Without what was worked out from its fields: `model_copy` may replace these."""
        return only_fields(super().__copy__())

    def identity(self) -> dict[str, Any]:
        """What decides the result: not the label, and the recipe only once it is merged into the job's."""
        found = {
            "name": self.name,
            "parameters": self._decisive() | self.contents,
            "members": [part.identity() for part in self.members],
        }
        revision = REVISIONS.get(self.name.partition("/")[0])
        return found if revision is None else found | {"revision": revision}

    def _decisive(self) -> dict[str, Any]:
        """The parameters, without newer ones that change nothing."""
        return {name: value for name, value in self.parameters.items() if NEWER.get(name, ...) != value}

    @property
    def plugin(self) -> str | None:
        """The hash of the plugin that it is from; None for a part of lossbench's own."""
        return self.contents.get(PLUGIN)

    @cached_property
    def identity_text(self) -> str:
        """The identity as JSON: many jobs share a part."""
        return _json(self.identity())

    @cached_property
    def digest(self) -> str:
        """A hash of the identity."""
        return _digest(self.identity_text)


class Digests(NamedTuple):
    """Hashes of what a job's parts are, whatever they are called."""

    dataset: str
    backbone: str
    objective: str


class Job(BaseModel):
    """One cell of the matrix, every parameter resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    dataset: Part
    backbone: Part
    objective: Part
    kind: Kind
    seed: int
    recipe: Recipe
    members: tuple["Job", ...] = ()
    """The jobs whose embeddings a model ensemble fuses, or that teach a student."""
    control: bool = False
    """Whether it is there for an ensemble to be held against. What it computes does not depend on that."""
    protocol: int = PROTOCOL
    """The version of the harness's computations: of a stored job, that of then."""
    stopping: str | None = Field(None, exclude=True)
    """The rule by which its seed was added, in words; None where the matrix names the seed. No part of the identity."""

    def changed(self, **fields: Any) -> "Job":
        """The same job but for these fields, and so with a key of its own."""
        return Job(**{name: getattr(self, name) for name in Job.model_fields} | fields)

    def identity(self) -> str:
        """All that the result depends on, as a JSON object with its names in order."""
        return self._identity(seed=_json(self.seed), members=_json([job.key for job in self.members]))

    def _identity(self, **others: str) -> str:
        """That object, of what does not depend on the seed, and of `others`; each value is JSON already."""
        parts = {name: getattr(self, name).identity_text for name in ("dataset", "backbone", "objective", "recipe")}
        fields = {**parts, "kind": _json(self.kind), "protocol": _json(self.protocol), **others}
        return "{" + ", ".join(f'"{name}": {fields[name]}' for name in sorted(fields)) + "}"

    @property
    def role(self) -> Role:
        """Its kind, or that it is a control."""
        return "control" if self.control else self.kind

    @property
    def loss(self) -> Part:
        """The loss, or the ensemble of losses, that trains it: of a student that of its first teacher."""
        return self.members[0].objective if self.kind == "student" else self.objective

    @property
    def member_labels(self) -> tuple[str, ...]:
        """Labels of an ensemble's members; of a model ensemble one per model."""
        own = tuple(member.objective.label for member in self.members)
        return own or tuple(part.label for part in self.objective.members)

    @cached_property
    def member_keys(self) -> frozenset[str]:
        """Keys of the jobs that a model ensemble fuses, or that teach a student."""
        return frozenset(member.key for member in self.members)

    @cached_property
    def digests(self) -> Digests:
        """What its parts are."""
        return Digests(self.dataset.digest, self.backbone.digest, self.objective.digest)

    @cached_property
    def key(self) -> str:
        """A readable prefix and a hash of the identity: the name of the job's folder."""
        return self._named(f"s{self.seed}", _digest(self.identity()))

    @cached_property
    def cell(self) -> str:
        """The same without the seed, its own and its members': what is averaged over seeds, and nothing else is."""
        return self._named(_digest(self._identity(members=_json([job.cell for job in self.members]))))

    def _named(self, *ends: str) -> str:
        words = (self.dataset.name, self.backbone.name, self.objective.name, *ends)
        return "-".join(map(_word, words))

    @classmethod
    def stored(cls, text: str) -> "Job | None":
        """The job of a stored row (JSON); None where this version of the harness cannot read it.

        Fields of the recipe that came after the row was stored are at what was done before there were any.
        """
        try:
            found = json.loads(text)
            shallow = text.count("{") + text.count("[") <= DEEPEST or _is_shallow(found)
            return cls.model_validate(_completed(found)) if shallow else None
        except (ValidationError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None


def _is_shallow(value: Any) -> bool:
    """Is nothing nested deeper than what a matrix can say? Whoever reads it may recurse as deep."""
    level = [value]
    for _ in range(DEEPEST):
        inside = chain.from_iterable(one.values() if isinstance(one, dict) else one for one in level)
        level = [one for one in inside if isinstance(one, dict | list)]
    return not level


def _completed(job: dict[str, Any]) -> dict[str, Any]:
    members = [_completed(member) for member in job["members"]]
    return {**job, "recipe": complete(job["recipe"]), "members": members}


@lru_cache(maxsize=2**12)
def _word(text: str) -> str:
    """The text as part of the name of a folder."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(identity: str) -> str:
    return hashlib.sha256(identity.encode()).hexdigest()[:12]
