"""What the harness costs on a GPU, against the bare thing: `python tests/perf/gpu.py [step] [evaluation] [together]`.

- step: a ResNet-50 at 224 pixels, batches of 120, bfloat16, Proxy Anchor, on made-up pictures of 256 pixels that lie on
  the GPU: an epoch of the harness (batches drawn, cropped, flipped, normalised) against the bare step on one batch that
  is ready, with torch's own settings and with those of a worker, which make results repeatable.
- evaluation: embeddings of the size of Stanford Online Products against the matrix products that it cannot do without.
- together: small jobs, one at a time and several on the card at once, as whole commands.

Both sides of a ratio are measured in turns within one run. Nothing here passes or fails.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from perf.evaluation import CASES, DIM, embeddings
from torch import Tensor

from bench.datasets.held_out import folds
from bench.datasets.split import Images, Split
from bench.job import batches
from bench.job.fit import begin, pictures
from bench.job.train import train
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import Job
from bench.scoring.evaluation import evaluate

BATCH, SIDE, STEPS, ROUNDS = 120, 256, 20, 3
CUDA = torch.device("cuda:0")
DRAWN = {"classes_per_batch": BATCH // 4, "images_per_class": 4, "images_per_epoch": BATCH * STEPS}
SEEN = {"crop": 224, "flip": "true", "rotation": 0.0, "zoom": 0.0, "shift": 0.0}
RECIPE = {"epochs": 100, "dim": 512, "precision": "'bfloat16'", **DRAWN, **SEEN}


def milliseconds(work: Callable[[], object], count: int = 1) -> float:
    """Of each of so many things that the work does, until the GPU is done."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count * 1e3


def in_turns(works: dict[str, Callable[[], object]], count: int = 1) -> dict[str, float]:
    """The median of each."""
    found = [[milliseconds(work, count) for work in works.values()] for _ in range(ROUNDS + 1)][1:]
    return {name: statistics.median(times) for name, times in zip(works, zip(*found, strict=True), strict=True)}


def table(title: str, found: dict[str, float], unit: str, *, floor: str) -> None:
    print(f"\n{title}, on {torch.cuda.get_device_name()}")
    for name, value in found.items():
        print(f"  {name:<58} {value:9.1f} {unit}   {found[floor] / value:5.3f} of {floor}")


def resnet() -> Job:
    changes = [f"recipe.{name}={value}" for name, value in RECIPE.items()]
    changes += ['backbones=["timm/resnet50"]', 'losses=["proxy_anchor"]', "ensembles=[]", "model_ensembles=[]"]
    return expand(load("demo", changes))[0]


def made_up(classes: int = 600, each: int = 4) -> Split:
    """Noise, of which the last class is the test side."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (classes * each, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.arange(classes).repeat(each)
    test = Images(images[:each], np.zeros(each, np.int64), ("last",))
    return Split(Images(images, labels, tuple(map(str, range(classes)))), test)


def settings(*, of_a_worker: bool, fastest: bool = False) -> None:
    torch.use_deterministic_algorithms(of_a_worker, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = fastest


def step() -> None:
    """Print how many images per second train."""
    job, split = resnet(), made_up()
    fold = folds(split.train.labels, None, seed=0)[0]
    settings(of_a_worker=True)

    def harness(*, resident: bool) -> Callable[[], object]:
        kept, batches.IN_MEMORY = batches.IN_MEMORY, batches.IN_MEMORY if resident else 0
        images = pictures(split, job.recipe, CUDA)
        batches.IN_MEMORY = kept
        training = begin(job, images, fold)

        def epoch() -> None:
            settings(of_a_worker=True)
            training.history.clear()
            draws = training.generators
            feed = batches.epochs(images.draw, fold.labels, job.recipe, draws=draws)
            next(train(training, feed, precision=torch.bfloat16))

        return epoch

    def bare(*, of_a_worker: bool = False, fastest: bool = False, fused: bool = False) -> Callable[[], object]:
        images = pictures(split, job.recipe, CUDA)
        training = begin(job, images, fold)
        model, objective, optimizer = training.model.train(), training.objective, training.optimizer
        for group in optimizer.param_groups:
            group.update(fused=fused, foreach=None)
        ready = images.draw(torch.arange(BATCH), training.generators["augmentation"])
        ready = ready.contiguous(memory_format=torch.channels_last)
        labels = torch.arange(BATCH, device=CUDA) // 4

        def steps() -> None:
            settings(of_a_worker=of_a_worker, fastest=fastest)
            for _ in range(STEPS):
                optimizer.zero_grad()
                with torch.autocast("cuda", torch.bfloat16):
                    found = model(ready)
                objective(found.float(), labels).backward()
                optimizer.step()

        return steps

    works = {
        "bare step": bare(),
        "bare step, cuDNN's fastest kernels searched for": bare(fastest=True),
        "bare step, the optimizer fused": bare(fused=True),
        "bare step, repeatable as a worker is": bare(of_a_worker=True),
        "harness, pictures on the GPU": harness(resident=True),
        "harness, pictures read batch by batch": harness(resident=False),
    }
    table(f"a step of ResNet-50, {BATCH} pictures of 224", in_turns(works, STEPS), "ms", floor="bare step")


def evaluation() -> None:
    """Print what an evaluation takes on the GPU."""
    case = CASES["SOP"]
    made, labels = embeddings(case)
    points = torch.from_numpy(made).to(CUDA)
    centres = points[: case.classes].clone()

    def products(rows: int, others: Tensor) -> Callable[[], object]:
        return lambda: [torch.mm(some, others.T) for some in points.split(rows)]

    works: dict[str, Callable[[], object]] = {
        "products of all with all": products(1024, points),
        "products of all with the centres, 21 times": lambda: [products(4096, centres)() for _ in range(21)],
        "ours, without clusters": lambda: evaluate(points, labels, ks=case.ks, restarts=0),
        "ours, one restart of k-means": lambda: evaluate(points, labels, ks=case.ks, restarts=1),
        "ours, one restart of k-means, to 10 deep": lambda: evaluate(points, labels, ks=(1, 10), restarts=1),
    }
    settings(of_a_worker=True)
    title = f"evaluation of {case.images} × {DIM} in {case.classes} classes, Recall@1 to 1000"
    table(title, in_turns(works), "ms", floor="products of all with all")


def together() -> None:
    """Print how long whole commands take, by how many jobs share the card."""
    command_seconds(1, '["contrastive"]')  # the letters are drawn once
    losses = '["contrastive", "triplet", "multi_similarity", "normalized_softmax"]'
    found = {f"16 jobs, {each} at a time": command_seconds(each, losses) for each in (1, 2, 4, 8)}
    table("bench run of small jobs", found, "s", floor=next(iter(found)))


def command_seconds(each: int, losses: str) -> float:
    """Of `bench run` with four seeds of each loss, so many jobs on the card at a time."""
    changes = [f"losses={losses}", "ensembles=[]", "model_ensembles=[]", "controls=false"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "bench.cli.start", "run", "demo", "--results", folder, "--seeds", "4"]
        command += ["--device", "cuda", "--gpus-per-job", str(1 / each), *(f"--set={change}" for change in changes)]
        start = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    for part in sys.argv[1:] or ["step", "evaluation", "together"]:
        {"step": step, "evaluation": evaluation, "together": together}[part]()
