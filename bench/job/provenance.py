"""Where a result was made: versions, commit, device, memory."""

import platform
import resource
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from bench.datasets.contamination.near_duplicates import near_duplicates
from bench.datasets.contamination.overlap import known_overlap
from bench.datasets.split import Split
from bench.matrix.catalogue import FEATURES, find
from bench.matrix.job import Job, Part
from bench.matrix.packaged_weights import PACKAGED
from bench.store.row import Provenance

__all__ = ["contamination", "device_name", "peak_memory_mb", "provenance", "reset_peak_memory", "weights_source"]


def provenance(
    device: torch.device, dataset_sha: str, weights_sha: str | None, weights_source: str | None = None
) -> Provenance:
    """Versions, commit and device of this process, and what the job was given."""
    commit, dirty = _commit()
    return Provenance(
        commit=commit,
        dirty=dirty,
        python=platform.python_version(),
        torch=version("torch"),
        timm=version("timm"),
        pytorch_metric_learning=version("pytorch-metric-learning"),
        device=device_name(device),
        threads=torch.get_num_threads(),
        dataset_sha=dataset_sha,
        weights_sha=weights_sha,
        weights_source=weights_source,
    )


def weights_source(backbone: Part) -> str | None:
    """Where a trunk's initial weights come from; None where they are drawn.

    The package with its version and file, the name of a local file, or what timm downloads.
    """
    if (file := backbone.parameters.get("weights")) is not None:
        return f"local file {Path(file).name}"
    if not backbone.parameters.get("pretrained"):
        return None
    if backbone.plugin:
        return f"plugin ({backbone.name})"
    model = backbone.name.partition("/")[2]
    if "pretrained" in backbone.contents:
        return PACKAGED[model].source
    import timm  # which is slow, and few jobs are pretrained

    config = timm.get_pretrained_cfg(model)
    return f"timm download ({config.hf_hub_id or config.url})" if config else "timm download"


def contamination(job: Job, split: Split) -> dict[str, str | int | None]:
    """Contamination of the test images of a job: columns `overlap` and `near_duplicates` of its row."""
    trunk, found = job.backbone.parameters, near_duplicates(split)
    embedded = job.kind != "floor" or find("floors", job.objective.name).positional == FEATURES
    pretrained = bool(trunk.get("pretrained")) and embedded
    weights = trunk.get("weights") if embedded else None
    name = _tagged(job.backbone) if pretrained else job.backbone.name
    return {
        "overlap": known_overlap(name, pretrained=pretrained, weights=weights, dataset=job.dataset.name),
        "near_duplicates": found.images if found else None,
    }


def _tagged(backbone: Part) -> str:
    """The backbone with the weights that a bare name means, as "timm/resnet50.a1_in1k"."""
    name, model = backbone.name, backbone.name.partition("/")[2]
    if "pretrained" in backbone.contents:
        return f"{name}.{PACKAGED[model].tag}"
    import timm

    config = None if "." in name else timm.get_pretrained_cfg(model)
    return f"{name}.{config.tag}" if config else name


@cache
def _commit() -> tuple[str | None, bool | None]:
    """Commit of the harness and whether its tree has changes; (None, None) where it is installed without git."""
    home = Path(__file__).parents[1]
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--", home, home.parent / "losses"],
            cwd=home,
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return head.stdout.strip(), bool(changes.stdout)


@cache
def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def reset_peak_memory(device: torch.device) -> None:
    """Start a new peak for the next job, where the system can."""
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # before the first tensor there are no statistics to reset
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def peak_memory_mb(device: torch.device) -> float:
    """Peak since the reset: of the GPU's memory, or of this process (MB = 10^6 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
