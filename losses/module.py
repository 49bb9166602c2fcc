"""A loss as a module: a plain function of embeddings and labels, and what it is to be called with."""

from collections.abc import Callable
from inspect import signature
from typing import Any

from torch import Tensor, nn

from losses.batch_checks import exact, whole_labels
from losses.pairwise import References, single
from losses.shape import Shape

__all__ = ["Loss", "compares"]


class Loss(nn.Module):
    """(embeddings [B, dim], labels [B]) -> scalar: the function's value, in single precision or better."""

    def __init__(
        self, shape: Shape, function: Callable[..., Tensor], *, classes: int | None = None, **settings: Any
    ) -> None:
        """A function (embeddings, labels, *, settings) -> scalar, at these settings.

        Parameters and modules among the settings train, other tensors are buffers; the function gets them by their
        names. A function that takes `references` may compare the batch with these instead of itself.

        Args:
            shape: the width of the embeddings.
            function: of a module, so that it can be pickled.
            classes: labels must be below this; None where the function has nothing per class.
            settings: what else the function takes.
        """
        super().__init__()
        self.function = function
        self.dim = shape.dim
        self.classes = classes
        self.settings = {name: value for name, value in settings.items() if not isinstance(value, Tensor | nn.Module)}
        self.own = tuple(name for name in settings if name not in self.settings)
        for name in self.own:
            if isinstance(settings[name], nn.Parameter | nn.Module):
                setattr(self, name, settings[name])
            else:
                self.register_buffer(name, settings[name])

    def forward(self, embeddings: Tensor, labels: Tensor, references: References | None = None) -> Tensor:
        """The loss of a batch; of one that is not right, ValueError."""
        labels = whole_labels(embeddings, labels, dim=self.dim, classes=self.classes)
        more = {} if references is None else {"references": references}
        with exact(embeddings):
            own = {name: _raised(getattr(self, name)) for name in self.own}
            return self.function(single(embeddings), labels, **more, **own, **self.settings)

    def extra_repr(self) -> str:
        """The settings, of tensors their sizes."""
        own = {name: getattr(self, name) for name in self.own}
        sizes = [f"{name}={list(value.shape)}" for name, value in own.items() if isinstance(value, Tensor)]
        return ", ".join([*(f"{name}={value!r}" for name, value in self.settings.items()), *sizes])

    def _get_name(self) -> str:
        return self.function.__name__.strip("_").removesuffix("_loss")


def compares(module: nn.Module) -> bool:
    """Whether a loss can compare a batch with references instead of itself."""
    return "references" in signature(module.function if isinstance(module, Loss) else module.forward).parameters


def _raised(own: Tensor | nn.Module) -> Tensor | nn.Module:
    return single(own) if isinstance(own, Tensor) else own
