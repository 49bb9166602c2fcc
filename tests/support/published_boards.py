"""Made-up measured rows on the field's datasets, as a matrix has these, and files of published results."""

import csv
from pathlib import Path
from typing import Any

import pandas as pd
from support.sample_rows import row, table

from bench.analysis.boards import Board, boards
from bench.matrix.job import Part

RESNET = Part(
    name="timm/resnet50.tv_in1k", label="resnet50", parameters={"pretrained": True, "frozen_batch_norm": True}
)
LINE = {
    "paper": "A paper (CVPR 2020)",
    "year": "2020",
    "method": "A method",
    "kind": "individual",
    "dataset": "CUB-200-2011",
    "backbone": "ResNet50",
    "embedding_dim": "512",
    "metric": "R@K",
    "k": "1",
    "value": "61.5",
    "ci95": "",
    "source_url": "https://example.org/paper.pdf",
}
"""A published value, sound but for what a test changes."""
ALIKE = {
    "crop": "224 of the middle square at 256",
    "pretraining": "tv_in1k",
    "epoch_choice": "last",
    "ci95": "0.4",
}
"""What makes it comparable with the rows of `measured`."""


def dataset(name: str = "cub200", **parameters: Any) -> Part:
    """A dataset of the field as a matrix resolves it, unless `parameters` change it."""
    return Part(name=name, label=name, parameters={"size": 256, **parameters})


def measured(*datasets: Part, backbone: Part = RESNET, seeds: int = 3, **others: Any) -> pd.DataFrame:
    """Rows of two losses, the first of which leads by far."""
    recipe = {"epochs": 60, "dim": 512, "crop": 224, **others.pop("recipe", {})}
    means = {"proxy_anchor": 0.66137, "triplet": 0.60137}
    return table(
        row(
            name,
            seed,
            dataset=part,
            backbone=backbone,
            recipe=recipe,
            **{
                "dataset_sha": f"{number:064d}",
                "embedding_dim": 512,
                "recall_at_1": mean + seed / 777,
                "nmi": mean + 0.05 + seed / 787,
                **others,
            },
        )
        for number, part in enumerate(datasets or (dataset(),))
        for name, mean in means.items()
        for seed in range(seeds)
    )


def board(*datasets: Part, **others: Any) -> Board:
    """The only board of such rows."""
    (found,) = boards(measured(*datasets, **others))
    return found


def published(file: Path, *lines: dict[str, str]) -> Path:
    """A file of published values, each LINE with these changes."""
    rows = [LINE | line for line in lines or ({},)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.DictWriter(text, names, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return file
