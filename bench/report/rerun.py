"""The matrix that asks for one line of a board again, from the job that its rows hold."""

from pydantic import ValidationError

from bench.analysis.board_lines import Line
from bench.matrix.file import Matrix
from bench.matrix.job import PLUGIN, PROTOCOL, Job, Part
from bench.matrix.matrix_text import written

__all__ = ["rerun"]


def rerun(line: Line) -> str:
    """TOML for `bench run` with the same cell and seeds; "" where the rows do not know it.

    They do not for a model ensemble and a floor, which no matrix holds alone; for an objective of a plugin, whose file
    is elsewhere; and for what an older version of the harness computed, which this one would not repeat.
    """
    texts = [text for text in line.made["job"] if isinstance(text, str)]
    job = Job.stored(texts[-1]) if texts else None
    if job is None or job.kind not in ("loss", "ensemble") or job.protocol != PROTOCOL or _of_plugin(job):
        return ""
    dataset, backbone, objective = (_plain(part) for part in (job.dataset, job.backbone, job.objective))
    lists = {"losses" if job.kind == "loss" else "ensembles": (objective,)}
    try:
        matrix = Matrix(
            **{"datasets": (dataset,), "backbones": (backbone,), "seeds": line.ran, "controls": False},
            **{"recipe": job.recipe, **lists},
        )
    except ValidationError:
        return ""
    return written(matrix, headline=f"{line.objective} on {job.dataset.label}, {job.backbone.label}")


def _plain(part: Part) -> Part:
    """The part without a recipe of its own: that of the job is the whole one."""
    return part.model_copy(update={"recipe": {}})


def _of_plugin(job: Job) -> bool:
    parts = [job.dataset, job.backbone, job.objective]
    while parts:
        part = parts.pop()
        if PLUGIN in part.contents:
            return True
        parts += part.members
    return False
