"""Which pretrained trunks can be had without a download, for `bench list backbones`; imports no torch.

Looked for are the weights of an installed package, and those that timm once downloaded into the cache of Hugging Face.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.datasets.contamination.overlap import corpora
from bench.matrix.packaged_weights import EXTRA, PACKAGED, installed

__all__ = ["lines", "trunks"]

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""What timm downloads of a model; either will do."""


def trunks() -> list[dict[str, Any]]:
    """Name, what it was trained on, where it comes from and whether it is at hand, as JSON values."""
    packaged = [
        _trunk(name, one.tag, one.source.partition(",")[0], at_hand=installed(name) is not None)
        for name, one in PACKAGED.items()
    ]
    return packaged + [_trunk(name, name.partition(".")[2], "downloaded", at_hand=True) for name in _downloaded()]


def lines(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """For a terminal: a line for every trunk."""
    yield "Trunks for pretrained = true without a download (timm downloads others on first use):"
    for trunk in found:
        what = trunk["source"] if trunk["at_hand"] else f"not installed: {EXTRA}"
        yield f"    {trunk['name']}: trained on {', '.join(trunk['trained_on']) or 'what is not known'}; {what}"


def _trunk(model: str, tag: str, source: str, *, at_hand: bool) -> dict[str, Any]:
    return {"name": f"timm/{model}", "trained_on": list(corpora(tag)), "source": source, "at_hand": at_hand}


def _downloaded() -> list[str]:
    """timm's names with tags, of the folders of its models that hold weights."""
    found = _cache().glob("models--timm--*")
    complete = [folder for folder in found if any(any(folder.glob(f"snapshots/*/{name}")) for name in WEIGHTS)]
    return sorted(folder.name.removeprefix("models--timm--") for folder in complete)


def _cache() -> Path:
    """As huggingface_hub finds it, which takes long to import."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"
