"""All models that a job trains, one per fold of the training classes: from their beginning, or from a checkpoint."""

from collections.abc import Callable

from bench.datasets.held_out import folds
from bench.job.checkpoint import UnfitError
from bench.job.fit import Pictures, fit
from bench.job.fitted import Fitted
from bench.job.watch import Watch
from bench.matrix.job import Job

__all__ = ["models"]


def models(
    job: Job, images: Pictures, watch: Watch, *, progress: Callable[[int], None] = lambda _epochs: None
) -> list[Fitted]:
    """Train them one after another; one that diverges is the last.

    Args:
        job: from an expanded matrix.
        images: of its dataset, on the device that trains.
        watch: over the job; it knows what an earlier attempt has left.
        progress: told the number of epochs done, those of the models before included.
    """
    try:
        return _models(job, images, watch, progress)
    except UnfitError as error:
        watch.begin_anew(str(error))
        return _models(job, images, watch, progress)


def _models(job: Job, images: Pictures, watch: Watch, progress: Callable[[int], None]) -> list[Fitted]:
    try:
        fits = [Fitted.of(state, images.device) for state in watch.finished]
    except Exception as error:  # whatever does not fit, the job can begin anew
        raise UnfitError("does not fit this version of the harness") from error
    for number, fold in enumerate(folds(images.split.train.labels, job.recipe.validation, seed=job.seed)):
        if number >= len(fits):
            fits.append(fit(job, images, fold, number=number, watch=watch, progress=progress))
            watch.finish(fits[-1].state_dict())
        if fits[-1].diverged:
            break
    watch.look()
    return fits
