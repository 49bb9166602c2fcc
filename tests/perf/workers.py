"""Several workers of one thread against one worker of several: prints images per second of both, and their ratio.

EfficientNet-Lite0 on pictures of 64 pixels, batches of 64, the whole step. `workers.py [CORES]`, by default 2. Machines
are noisy, so nothing here passes or fails; the two take turns.
"""

import os
import statistics
import subprocess
import sys
import time

from bench.execute.pool import MEMORY

BATCH, SIZE, STEPS, ROUNDS = 64, 64, 3, 3


def work(threads: int) -> None:
    """Be one worker: say when it is warm, and at every line that arrives train some steps."""
    import torch

    from bench.job.backbones import timm
    from bench.job.network import embedder
    from bench.job.optimizer import Rates, optimizer
    from losses.pair import multi_similarity
    from losses.shape import Shape

    torch.set_num_threads(threads)
    images, labels = torch.rand(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) // 4
    trunk = timm(3, "tf_efficientnet_lite0", (SIZE, SIZE))
    model = embedder(trunk, images[:8], 128, frozen_batch_norm=True).train()
    objective = multi_similarity(Shape(128, BATCH // 4))
    adam = optimizer(model, objective, Rates(1e-4, 1e-3, 1e-3), weight_decay=1e-4)

    def steps(count: int) -> None:
        for _ in range(count):
            adam.zero_grad()
            objective(model(images), labels).backward()
            adam.step()

    steps(1)
    print("warm", flush=True)
    for _ in sys.stdin:
        steps(STEPS)
        print("done", flush=True)


class Workers:
    """Some processes of some threads each, which train at the same time."""

    def __init__(self, count: int, threads: int) -> None:
        own = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        command = [sys.executable, "-P", __file__, "--work", str(threads)]
        both = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        env = {**os.environ, **MEMORY, **own}
        self.processes = [subprocess.Popen(command, env=env, **both) for _ in range(count)]
        self._heard()

    def images_per_second(self) -> float:
        """Of all together, until the last one is done."""
        start = time.perf_counter()
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        self._heard()
        return len(self.processes) * STEPS * BATCH / (time.perf_counter() - start)

    def _heard(self) -> None:
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline(), "a worker has ended"

    def stop(self) -> None:
        """End them."""
        for process in self.processes:
            process.kill()
            process.wait()


def main(cores: int) -> None:
    """Measure and print."""
    sides = {f"{cores} workers of 1 thread": Workers(cores, 1), f"1 worker of {cores} threads": Workers(1, cores)}
    rounds = [[side.images_per_second() for side in sides.values()] for _ in range(ROUNDS)]
    for side in sides.values():
        side.stop()
    for name, found in zip(sides, zip(*rounds, strict=True), strict=True):
        print(f"{name}: {statistics.median(found):.0f} images per second ({min(found):.0f} to {max(found):.0f})")
    print(f"ratio: {statistics.median(many / one for many, one in rounds):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(int(sys.argv[2]))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 2)
