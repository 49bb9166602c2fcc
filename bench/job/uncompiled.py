"""torch's optimizers without torch's compiler.

They import it, a second and 0.15 GB for every worker, only to tell it what it is to leave alone. Nothing here compiles.
A trunk of timm imports it all the same, by way of torchvision.
"""

import inspect
from typing import TypeVar

import torch
from torch.optim import Optimizer

__all__ = ["uncompiled"]

Kind = TypeVar("Kind", bound=Optimizer)

TOLD = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
"""Methods of an optimizer that tell the compiler, as `step` does."""


def uncompiled(kind: type[Kind]) -> type[Kind]:
    """The same optimizer with the methods as they are before torch wraps them. The same bits."""
    own = {name: inspect.unwrap(getattr(kind, name)) for name in TOLD}
    return type(kind.__name__, (kind,), {**own, "step": torch.no_grad()(inspect.unwrap(kind.step))})
