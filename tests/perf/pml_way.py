"""A small matrix, here and the way it is done with pytorch-metric-learning: `python tests/perf/pml_way.py [ROUNDS]`.

Four seeds of multi-similarity with its miner, Conv-4, the rendered letters of the demo, five epochs. The other side is
what a script of PML does: one process per job, one after the other, each on all cores, torchvision's transforms per
image in two loader workers, the trainer MetricLossOnly, the tester GlobalEmbeddingSpaceTester with Recall@1, MAP@R, NMI
and AMI. Images, network, batches, epochs and learning rates are the same. Ours is the whole command `bench run`, start,
checks, evaluation and rows included. The sides take turns. Machines are noisy, so nothing here passes or fails.
"""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

EPOCHS, SEEDS, CLASSES, IMAGES = 5, range(4), 16, 2
CHANGES = [
    f"recipe.epochs={EPOCHS}", 'losses=["multi_similarity"]', "ensembles=[]", "model_ensembles=[]", "controls=false",
    "recipe.restarts=1", f"recipe.classes_per_batch={CLASSES}", f"recipe.images_per_class={IMAGES}",
]  # fmt: skip


def pml_job(seed: int) -> None:
    """Be one job of the other side."""
    import torch
    from pytorch_metric_learning import losses, miners, samplers, testers, trainers
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    from bench import datasets
    from bench.matrix.expand import expand
    from bench.matrix.file import load

    logging.getLogger("PML").setLevel(logging.ERROR)
    job = expand(load("demo", CHANGES))[0]
    split = datasets.load(job.dataset, None)
    torch.manual_seed(seed)
    model = _network(job, split)
    train = _Pictures(split.train, augmented=True)
    rates = {"trunk": job.recipe.trunk_rate, "embedder": job.recipe.head_rate}
    models = {"trunk": torch.nn.Sequential(model.trunk, model.pool), "embedder": model.head}
    sampler = samplers.MPerClassSampler(split.train.labels, IMAGES, CLASSES * IMAGES, len(train))
    trainer = trainers.MetricLossOnly(
        models=models,
        optimizers={f"{name}_optimizer": torch.optim.AdamW(models[name].parameters(), rates[name]) for name in models},
        batch_size=CLASSES * IMAGES,
        loss_funcs={"metric_loss": losses.MultiSimilarityLoss()},
        mining_funcs={"tuple_miner": miners.MultiSimilarityMiner()},
        dataset=train,
        sampler=sampler,
        dataloader_num_workers=2,
    )
    trainer.train(num_epochs=EPOCHS)
    wanted = ("precision_at_1", "mean_average_precision_at_r", "NMI", "AMI")
    tester = testers.GlobalEmbeddingSpaceTester(
        accuracy_calculator=AccuracyCalculator(include=wanted, k="max_bin_count"), batch_size=256
    )
    found = tester.test({"test": _Pictures(split.test)}, EPOCHS, models["trunk"], models["embedder"])
    print(f"Recall@1 {found['test']['precision_at_1_level0']:.3f}")


def _network(job: Any, split: Any) -> Any:
    from bench.job.batches import example
    from bench.job.network import embedder_for

    return embedder_for(job.backbone, example(split.train), job.recipe.dim)


class _Pictures:
    """A dataset as torch's loaders want it: one picture at a time, through torchvision's transforms."""

    def __init__(self, part: Any, *, augmented: bool = False) -> None:
        from torchvision import transforms

        moved = [transforms.RandomAffine(10, translate=(0.1, 0.1), scale=(0.9, 1.1))] if augmented else []
        normal = transforms.Normalize([part.images.mean() / 255], [part.images.std() / 255])
        self.images, self.labels = part.images, part.labels
        self.transform = transforms.Compose([transforms.ToPILImage(), *moved, transforms.ToTensor(), normal])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def spent(commands: Sequence[Sequence[str]], env: dict[str, str]) -> tuple[float, float]:
    """Seconds of commands, one after the other, and of the processors."""
    start, before = time.perf_counter(), os.times()
    for command in commands:
        done = subprocess.run(command, capture_output=True, check=False, env=env, text=True)
        assert not done.returncode, done.stderr
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used


def main(rounds: int) -> None:
    """Measure and print."""
    python = [sys.executable, "-P"]
    many = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    changes = [part for change in CHANGES for part in ("--set", change)]
    found = []
    for _ in range(rounds):
        theirs = spent([[*python, __file__, "--job", str(seed)] for seed in SEEDS], many)
        with tempfile.TemporaryDirectory() as folder:
            run = [*python, "-m", "bench.cli.start", "run", "demo", "--results", folder, *changes]
            ours = spent([[*run, "--seeds", str(len(SEEDS))]], many)
        found.append((*theirs, *ours))
        print("the way of PML: {:.0f} s, {:.0f} of processors; bench run: {:.0f} s, {:.0f}".format(*found[-1]))
    for what, place in (("wall time", 0), ("processor time", 1)):
        print(
            f"{what}, the way of PML over ours: {statistics.median(one[place] / one[2 + place] for one in found):.2f}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        pml_job(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 3)
