"""The gradient of a large batch in the memory of a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["in_parts"]


def in_parts(
    model: nn.Module,
    objective: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    at_a_time: int,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Add the loss's gradient to that of every trainable tensor; the loss, without its graph.

    The gradient cache (Gao, Zhang, Han, Callan, RepL4NLP 2021, arXiv 2101.06983): every part of the batch is embedded
    twice, first without a graph, then with its graph and the gradient of its embeddings. Both times dropout draws the
    same, and the running statistics of batch norms see a part once. The gradient is the whole batch's where no layer
    looks across images; batch norms that are not frozen do, and see each part as a batch of its own.

    Args:
        model: images [B, C, H, W] -> embeddings [B, dim].
        objective: (embeddings, labels [B]) -> scalar.
        images: float [B, C, H, W], on the model's device.
        labels: [B].
        at_a_time: most images whose graph is kept at once; the parts are as even as it goes.
        precision: bfloat16 runs the model under autocast; the objective sees the embeddings in the images' format.
    """

    def embed(some: Tensor) -> Tensor:
        with torch.autocast(some.device.type, precision, enabled=precision != torch.float32):
            embeddings: Tensor = model(some)
        return embeddings.to(some.dtype)

    parts = torch.tensor_split(images, -(-len(images) // at_a_time))
    draws, embedded = [], []
    for part in parts:
        draws.append(_draws(part.device))
        with torch.no_grad():
            embedded.append(embed(part))
    leaf = torch.cat(embedded).requires_grad_()
    loss = objective(leaf, labels)
    loss.backward()
    after = _draws(leaf.device)
    pulls = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    with _statistics_kept(model):
        for part, own, pull in zip(parts, draws, torch.split(pulls, [len(part) for part in parts]), strict=True):
            _draw_again(own, part.device)
            again = embed(part)
            if again.requires_grad:
                torch.autograd.backward(again, pull)
    _draw_again(after, leaf.device)
    value: Tensor = loss.detach()
    return value


def _draws(device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Where torch's own generators stand: the processor's, and that of the device."""
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _draw_again(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    own, others = state
    torch.set_rng_state(own)
    if others is not None:
        torch.cuda.set_rng_state(others, device)


@contextmanager
def _statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise as before, and leave their running statistics as they are."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    tracking = [layer for layer in layers if layer.track_running_stats]
    for layer in tracking:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in tracking:
            layer.track_running_stats = True
