"""A small matrix as a file, for tests that train nothing and do not wait for torch."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOSSES = ["triplet", "contrastive"]
FUSED = [{"name": "concatenate", "members": LOSSES}]
DATASET = {"name": "glyphs", "classes": 12, "images_per_class": 8, "test_classes": 8, "test_images_per_class": 4}
RECIPE = {"epochs": 2, "dim": 16, "classes_per_batch": 6, "images_per_class": 4, "restarts": 2}


def written(
    folder: Path, *, losses: Sequence[Any], fused: bool = False, seeds: int = 1, controls: bool = True, dim: int = 16
) -> Path:
    values = {
        "datasets": [DATASET],
        "backbones": [{"name": "conv4", "width": 8}],
        "losses": list(losses),
        "model_ensembles": FUSED if fused else [],
        "seeds": seeds,
        "controls": controls,
        "recipe": RECIPE | {"dim": dim},
    }
    file = folder / "tiny.toml"
    file.write_text("\n".join(f"{name} = {_toml(value)}" for name, value in values.items()) + "\n", encoding="utf-8")
    return file


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(one)}" for name, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)
