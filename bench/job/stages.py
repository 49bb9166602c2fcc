"""Stages of a trunk, from the images on, and those of them that do not learn."""

from collections.abc import Callable
from typing import Any

from torch import nn

__all__ = ["freeze", "stages", "still"]


def stages(trunk: nn.Module) -> list[list[nn.Parameter]]:
    """The trunk's tensors by stage, the first one next to the images.

    Of conv4 a stage is a block. Of a timm model stages are what timm itself groups its layers by: `layer1` to `layer4`
    of a ResNet, the block groups of an EfficientNet, the blocks of a transformer. What stands before the first of them
    (stem, patch embedding, class token) belongs to it, what stands behind the last one to that.

    Raises:
        ValueError: the trunk does not say what its stages are.
    """
    plain = getattr(trunk, "plain", trunk)
    matcher: Callable[..., Any] | None = getattr(plain, "group_matcher", None)
    if matcher is not None:
        return _grouped(plain, matcher(coarse=True))
    if isinstance(plain, nn.Sequential):
        return [list(block.parameters()) for block in plain]
    raise ValueError("this trunk does not say what its stages are: set freeze_stages = 0, or choose another backbone")


def _grouped(plain: nn.Module, matcher: Any) -> list[list[nn.Parameter]]:
    from timm.models import group_parameters
    from timm.models._manipulate import MATCH_PREV_GROUP

    tensors = dict(plain.named_parameters())
    rest = {"rest": [(".", MATCH_PREV_GROUP)]}  # what no pattern names stands behind the last stage
    groups = group_parameters(plain, matcher | rest if isinstance(matcher, dict) else matcher)
    stem, *others = ([tensors[name] for name in groups[number]] for number in sorted(groups))
    if not others:
        return [stem]
    first, *later = others
    return [[*stem, *first], *later]


def freeze(trunk: nn.Module, count: int) -> None:
    """Let the first stages learn nothing: no gradient goes into them, so no graph of them is kept.

    Args:
        trunk: changed in place.
        count: how many stages, at least one fewer than there are.

    Raises:
        ValueError: the trunk has not so many.
    """
    found = stages(trunk)
    if count >= len(found):
        most = f"set freeze_stages = {len(found) - 1} or less" if len(found) > 1 else "set freeze_stages = 0"
        raise ValueError(
            f"the trunk has {len(found)} stages, and freeze_stages = {count} leaves none that learns: {most}, or "
            "frozen = true"
        )
    for stage in found[:count]:
        for tensor in stage:
            tensor.requires_grad_(False)


def still(trunk: nn.Module) -> list[nn.Module]:
    """Parts of a trunk that have tensors, of which none learns; outermost parts only."""
    found: list[nn.Module] = []
    for part in trunk.children():
        tensors = [tensor.requires_grad for tensor in part.parameters()]
        if tensors and not any(tensors):
            found.append(part)
        elif any(tensors):
            found += still(part)
    return found
