"""Backbones that do not learn, and what must hold before their features are kept."""

from bench.matrix.catalogue import VECTORS, find
from bench.matrix.job import Part
from bench.matrix.recipe import Recipe

__all__ = ["TRUNK", "given_weights", "of_vectors", "unfit_to_freeze"]

TRUNK = "trunk"
"""The floor that is the pretrained trunk alone."""

STILL = ("rotation", "zoom", "shift", "flip")
"""Fields of a recipe that move or mirror pictures; a crop alone is the middle of the picture where nothing learns."""


def of_vectors(backbone: Part) -> bool:
    """Whether a backbone takes stored embeddings instead of pictures."""
    return find("backbones", backbone.name).positional == VECTORS


def given_weights(backbone: Part) -> bool:
    """Whether a backbone stands for more than random weights: it is pretrained, or of vectors that a model gave."""
    given = backbone.parameters
    return bool(given.get("pretrained") or given.get("weights")) or of_vectors(backbone)


def unfit_to_freeze(backbone: Part, recipe: Recipe) -> str | None:
    """Why features of a resolved backbone cannot be kept with this recipe, one sentence; None where they can."""
    views = backbone.parameters.get("views", 0)
    moving = [name for name in STILL if getattr(recipe, name)]
    if not backbone.parameters.get("frozen"):
        return f"{backbone.label}: views = {views} belongs to frozen = true; add it, or remove views" if views else None
    if not given_weights(backbone):
        return f"{backbone.label}: frozen = true would freeze random weights; add pretrained = true, or weights = FILE"
    if backbone.parameters.get("freeze_stages"):
        return f"{backbone.label}: frozen = true freezes all stages; remove freeze_stages, or frozen"
    if views and not moving and not recipe.crop:
        return (
            f"{backbone.label}: views = {views} would keep {views} equal views, since the recipe does not augment; "
            "remove views, or add --set recipe.rotation=10"
        )
    if moving and not views:
        still = " ".join(f"--set recipe.{name}={'false' if name == 'flip' else 0}" for name in moving)
        return (
            f"{backbone.label}: a frozen trunk sees every picture once, but the recipe augments; add {still}, or keep "
            "augmented views with views = 4"
        )
    return None
