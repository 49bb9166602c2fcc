"""What is known of the overlap between the pictures that a trunk was pretrained on and a test set (overlap.toml)."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["GRADES", "corpora", "known_overlap"]

TABLE = Path(__file__).with_name("overlap.toml")
Grade = Literal["images", "classes", "unknown", "none"]
GRADES: dict[Grade, str] = {"images": "images", "classes": "classes", "unknown": "unknown", "none": "none known"}
"""Grade in the table -> how a text begins; from the gravest on."""


class Fact(BaseModel):
    """What is known of a corpus and a test set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grade: Grade
    says: str
    source: str
    basis: Literal["stated", "measured", "inferred"]

    def text(self) -> str:
        """Grade, sentence and source, as `known_overlap` gives them."""
        basis = "" if self.basis == "stated" else f"; {self.basis}"
        return f"{GRADES[self.grade]}: {self.says} ({self.source}{basis})"


class Corpus(BaseModel):
    """Something that trunks are pretrained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    tags: re.Pattern[str]
    otherwise: Fact
    facts: dict[str, Fact] = {}


class OverlapTable(BaseModel):
    """The whole of overlap.toml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    corpus: tuple[Corpus, ...]


def known_overlap(backbone: str, *, pretrained: bool, weights: str | None, dataset: str) -> str | None:
    """What the trunk's weights may have seen of a test set; None where they are random, or the images are vectors.

    The text begins with a grade and a colon: "images", "classes", "unknown" or "none known"; then the sentence, and in
    brackets its source, with "measured" where this project counted and "inferred" where no source says so. Weights of
    several corpora have one such text a grade, the gravest first, parted by " | "; "none known" then goes unsaid.

    Args:
        backbone: its name in the matrix; of timm's with the tag, "timm/resnet50.a1_in1k", since timm changes the tag
            that a bare name means: `timm.get_pretrained_cfg(name).tag` is the one in force.
        pretrained: whether it starts from timm's weights.
        weights: a local file of weights, which then count instead.
        dataset: the catalogue's name of the test set.
    """
    if dataset == "embeddings":
        return None
    if weights is not None:
        return "unknown: the weights are a local file, and what they were trained on is not recorded"
    if not pretrained:
        return None
    if dataset in ("folder", "manifest"):
        return "unknown: these are pictures of your own, so compare them with what the trunk was pretrained on"
    tag = backbone.partition(".")[2]
    seen = _seen(tag)
    if not seen:
        return f"unknown: what the weights {backbone} were trained on is not in overlap.toml"
    facts = [corpus.facts.get(dataset, corpus.otherwise) for corpus in seen]
    gravest = {fact.grade: fact.text() for fact in reversed(facts)}  # of a grade the first remains
    if len(gravest) > 1:
        gravest.pop("none", None)
    return " | ".join(gravest[grade] for grade in GRADES if grade in gravest)


def corpora(tag: str) -> tuple[str, ...]:
    """Names of what weights with this tag of timm's were trained on, as "ImageNet-1k"; empty where it is not known."""
    return tuple(corpus.name for corpus in _seen(tag))


def _seen(tag: str) -> list[Corpus]:
    return [corpus for corpus in _table().corpus if corpus.tags.search(tag)]


@cache
def _table() -> OverlapTable:
    return OverlapTable.model_validate(tomllib.loads(TABLE.read_text(encoding="utf-8")))
