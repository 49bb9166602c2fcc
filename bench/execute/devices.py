"""Where jobs train: the devices that there are, and how many jobs they take at a time."""

from pathlib import Path

from bench.matrix.job import ConfigError

__all__ = ["checked_gpus", "devices", "lacks_bfloat16", "places"]

CPUINFO = Path("/proc/cpuinfo")
BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""What Linux calls the instructions of a processor for bfloat16: Intel's and AMD's, and Arm's."""


def places(wanted: str, count: int | None = None, *, threads: int = 1, gpus: float | None = None) -> list[str]:
    """The device of every worker, one worker per job at a time.

    Args:
        wanted: auto, cpu or cuda.
        count: how many workers; by default one per GPU, and on the processor as many as its cores feed with threads.
        threads: of each worker on the processor.
        gpus: that a job holds, 0.25 for four workers on each GPU; there are at most `count` workers then.

    Raises:
        ConfigError: as `devices`; or there is no GPU to hold.
    """
    found = devices("cpu" if gpus == 0 else wanted)
    if gpus:
        if found == ["cpu"]:
            raise ConfigError(f"--gpus-per-job {gpus:g}: torch sees no GPU here; leave it out")
        return (found * int(1 / gpus + 1e-6))[:count]
    if count is None:
        count = len(found) if found != ["cpu"] else max(1, _cores() // threads)
    return [found[index % len(found)] for index in range(count)]


def devices(wanted: str) -> list[str]:
    """The devices to train on: every GPU there is, or the processor.

    Args:
        wanted: auto, cpu or cuda.

    Raises:
        ConfigError: CUDA is asked for and there is none, or the word is another.
    """
    if wanted not in {"auto", "cpu", "cuda"}:
        raise ConfigError(f"--device {wanted}: choose auto, cpu or cuda")
    gpus = 0 if wanted == "cpu" else _gpus()
    if wanted == "cuda" and not gpus:
        raise ConfigError("--device cuda: torch sees no GPU here; use --device cpu")
    return [f"cuda:{index}" for index in range(gpus)] or ["cpu"]


def checked_gpus(gpus: float | None, wanted: str) -> float | None:
    """How many GPUs a job holds.

    Raises:
        ConfigError: it makes no sense, or not with the kind of device that is wanted.
    """
    if gpus is not None and gpus != 0 and not 0.001 <= gpus <= 1:
        raise ConfigError(f"--gpus-per-job {gpus:g}: a job trains on one GPU; give 1, a part of it, or 0")
    if gpus is not None and (wanted, gpus > 0) in {("cpu", True), ("cuda", False)}:
        raise ConfigError(f"--gpus-per-job {gpus:g} and --device {wanted} exclude each other")
    return gpus


def lacks_bfloat16() -> bool:
    """Whether the processor is known to have no instructions for bfloat16, which make steps with it bearable."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return False
    flags = next(
        (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))), None
    )
    return flags is not None and BFLOAT16.isdisjoint(flags)


def _cores() -> int:
    """Cores that this process may use: its affinity and its container's quota count, where the system has them."""
    from joblib import cpu_count

    return int(cpu_count())


def _gpus() -> int:
    nodes = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
    if Path("/dev").exists() and not any(Path(node).exists() for node in nodes):
        return 0  # spares the import of torch where there can be none
    import torch

    return torch.cuda.device_count()
