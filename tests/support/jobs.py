"""Small real jobs for tests: a few rendered letters, a narrow Conv-4, seconds to train."""

from pathlib import Path
from typing import Any

from bench import store
from bench.matrix.expand import expand
from bench.matrix.file import Matrix
from bench.matrix.job import Job
from bench.store.row import Result

DATASET = {"name": "glyphs", "classes": 12, "images_per_class": 8, "test_classes": 8, "test_images_per_class": 4}
BACKBONE = {"name": "conv4", "width": 8}
RECIPE = {"epochs": 2, "dim": 16, "classes_per_batch": 6, "images_per_class": 4, "restarts": 2}


def tiny(**changes: object) -> tuple[Job, ...]:
    base: dict[str, object] = {"datasets": [DATASET], "backbones": [BACKBONE], "losses": ["triplet"]}
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    return expand(Matrix.model_validate({**base, "recipe": recipe, **changes}))


def matrix_file(folder: Path, **changes: str) -> Path:
    """The same jobs as a file, for the command line; `changes` are TOML values."""
    values = {
        "datasets": '[{ name = "glyphs", classes = 12, images_per_class = 8, test_classes = 8, test_images_per_class = 4 }]',  # noqa: E501
        "backbones": '[{ name = "conv4", width = 8 }]',
        "losses": '["triplet", "contrastive"]',
        **changes,
    }
    recipe = "\n".join(f"{name} = {value}" for name, value in RECIPE.items())
    text = "\n".join(f"{name} = {value}" for name, value in values.items()) + f"\n[recipe]\n{recipe}\n"
    file = folder / "tiny.toml"
    file.write_text(text, encoding="utf-8")
    return file


def go(job: Job, results: Path, **options: Any) -> Result:
    """Run a job on the processor and store it. Only this waits for torch."""
    import torch

    from bench.job.run import run

    result = run(job, data=None, results=results, device=torch.device("cpu"), **options)
    store.write(results, result)
    return result
