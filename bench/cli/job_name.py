"""What a job is called on one line of a terminal."""

from bench.matrix.job import TRAINED, Job

__all__ = ["name"]


def name(job: Job) -> str:
    """A job on one line. Of a control that is trained also what makes it differ from the cell of the same name."""
    place = f"{job.dataset.label} {job.backbone.label} {job.objective.label}"
    changed = f" dim {job.recipe.dim}, {job.recipe.epochs} epochs," if job.control and job.kind in TRAINED else ""
    return f"{'control: ' * job.control}{place}{changed} seed {job.seed}"
