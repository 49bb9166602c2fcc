"""Rows as `bench.load` gives them, with scores a test chooses."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.matrix.job import Job, Part
from bench.matrix.recipe import Recipe
from bench.report.plots.svg import Logs
from bench.store.row import Row

RECIPE = {"epochs": 10, "dim": 128}
SCORES = {
    **{f"recall_at_{k}": 0.6 + 0.04 * k for k in (1, 2, 4, 8)},
    **{
        "map_at_r": 0.3,
        "r_precision": 0.4,
        "nmi": 0.7,
        "nmi_sd": 0.01,
        "nmi_best": 0.71,
        "ami": 0.5,
        "ami_sd": 0.01,
        "ami_best": 0.51,
    },
    **{"recall_at_1_chance": 0.019, "nmi_chance": 0.21},
}


def job(
    objective: str | Part = "triplet",
    seed: int = 0,
    *,
    dataset: str | Part = "glyphs",
    backbone: str | Part = "conv4",
    kind: str = "loss",
    members: Sequence[str] = (),
    recipe: dict[str, Any] | None = None,
    protocol: int = 1,
) -> Job:
    """A job; names stand for parts without parameters, also those of members; a "control" trains a loss."""
    place = {"dataset": part(dataset), "backbone": part(backbone, head="linear")}
    trained = {**place, "recipe": Recipe.model_validate(RECIPE | (recipe or {})), "protocol": protocol}
    what = part(objective).model_copy(update={"members": tuple(map(part, dict.fromkeys(members)))})
    alike = [list(members[:index]).count(name) for index, name in enumerate(members)]
    fused = [
        Job(**trained, objective=part(name), kind="loss", seed=seed + before)
        for name, before in zip(members, alike, strict=True)
        if kind == "model_ensemble"
    ]
    role = {"control": "loss"}.get(kind, kind)
    return Job(**trained, objective=what, kind=role, seed=seed, members=tuple(fused), control=kind == "control")  # type: ignore[arg-type]


def part(name: str | Part, **parameters: Any) -> Part:
    return name if isinstance(name, Part) else Part(name=name, label=name, parameters=parameters)


IDENTITY = ("dataset", "backbone", "kind", "members", "recipe", "protocol")


def row(objective: str | Part = "triplet", seed: int = 0, **others: Any) -> dict[str, Any]:
    """One row of a finished job; `others` replace any column, and those of its identity make another job."""
    identity = {name: others.pop(name) for name in IDENTITY if name in others}
    return row_of(job(objective, seed, **identity), **others)


def row_of(job: Job, **others: Any) -> dict[str, Any]:
    """One row of this job, finished; `others` replace any column."""
    return {
        **Row.of(job, "done").model_dump(exclude={"scores", "provenance"}),
        **SCORES,
        **{"queries": 500, "queries_without_hit": 0, "seconds": 14.0, "seconds_train": 12.5, "seconds_evaluate": 1.5},
        **{"images_per_second": 900.0, "peak_memory_mb": 400.0, "parameters": 110_000, "embedding_dim": 128},
        **{
            "started": "2024-05-01T10:00:00Z",
            "commit": "0123456789abcdef",
            "dirty": False,
            "python": "3.11.9",
            "torch": "2.11.0",
        },
        **{"timm": "1.0.9", "pytorch_metric_learning": "2.9.0", "device": "CPU", "threads": 1},
        **{"dataset_sha": "d" * 64, "weights_sha": None},
        **others,
    }


def older(row: dict[str, Any], **others: Any) -> dict[str, Any]:
    """The row as it was stored before it knew its job."""
    return {name: value for name, value in row.items() if name not in ("job", "cell")} | others


def unfinished(objective: str, seed: int, status: str, reason: str | None, **others: Any) -> dict[str, Any]:
    """One row of a job without scores."""
    without = {**dict.fromkeys(SCORES), "status": status, "reason": reason, "embedding_dim": None, **others}
    return row(objective, seed, **without)


def table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """The rows as a table, scores as floats."""
    frame = pd.DataFrame(list(rows))
    return frame.astype(dict.fromkeys(SCORES, float))


def history(rows: pd.DataFrame, *, epochs: int = 5) -> pd.DataFrame:
    """A falling loss for every finished row that was trained."""
    trained = rows[(rows["status"] == "done") & (rows["kind"] != "model_ensemble")]
    long = trained[["key"]].merge(pd.DataFrame({"epoch": np.arange(1, epochs + 1)}), how="cross")
    job = np.repeat(np.arange(len(trained)), epochs)
    floor, fall = (job % 23) / 25, 0.2 + (job % 5) / 5
    return long.assign(loss=3 * (floor + (1 - floor) * np.exp(-fall * (long["epoch"] - 1))), rate=1e-3, seconds=1.2)


def member_history(rows: pd.DataFrame, *, epochs: int = 5) -> pd.DataFrame:
    """Weights that drift apart and losses that fall, for every member of every finished ensemble."""
    ensembles = rows[(rows["status"] == "done") & (rows["kind"] == "ensemble")]
    long = ensembles[["key", "members"]].explode("members").rename(columns={"members": "member"})
    long = long.merge(pd.DataFrame({"epoch": np.arange(1, epochs + 1)}), how="cross")
    place = long.groupby(["key", "epoch"]).cumcount()
    value = (1 + place) / long["epoch"]
    return long.assign(value=value, weight=1 + place * long["epoch"] / 10, running_mean=value * 2)


def logs(rows: pd.DataFrame, *, epochs: int = 5) -> Logs:
    """Both histories of the rows."""
    return Logs(history(rows, epochs=epochs), member_history(rows, epochs=epochs))


def large(*, datasets: int = 2, backbones: int = 2, objectives: int = 25, seeds: int = 3) -> pd.DataFrame:
    """A full matrix of plausible scores: every fourth objective is an ensemble, every eighth a model ensemble."""
    generator = np.random.default_rng(0)
    names = [f"objective_{number}" for number in range(objectives)]
    rows = []
    for dataset in range(datasets):
        for backbone in range(backbones):
            for number, name in enumerate(names):
                kind = "model_ensemble" if number % 8 == 7 else "ensemble" if number % 4 == 3 else "loss"
                members = [] if kind == "loss" else [names[number - 1], names[number - 2]]
                level = 0.3 + 0.1 * dataset + 0.05 * backbone + 0.3 * generator.random()
                for seed in range(seeds):
                    recall = level + 0.02 * generator.standard_normal()
                    scores = {"recall_at_1": recall, "map_at_r": recall / 2, "nmi": 0.4 + recall / 2}
                    place = {
                        "dataset": f"dataset {dataset}",
                        "backbone": f"backbone-{backbone}",
                        "dataset_sha": f"{dataset:064d}",
                    }
                    rows.append(row(name, seed, kind=kind, members=members, **place, **scores))
    return table(rows)
