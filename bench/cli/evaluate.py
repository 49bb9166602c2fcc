"""The command `bench evaluate`: stored embeddings scored by this harness's rules, and by those of other tools."""

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.cli.exit_codes import NOTHING
from bench.cli.options import JsonOption, PluginOption
from bench.cli.output import say

if TYPE_CHECKING:
    from bench.scoring.conventions.rescore import EmbeddedImages
    from bench.scoring.embeddings_file import FileEmbeddings

__all__ = ["evaluate"]


class Distance(StrEnum):
    """How near two embeddings are."""

    euclidean = "euclidean"
    cosine = "cosine"
    hyperbolic = "hyperbolic"


VectorsArgument = Annotated[
    Path, typer.Argument(metavar="EMBEDDINGS", help="A .npy, .npz or .parquet file, or the folder of a job.")
]
LabelsArgument = Annotated[
    Path | None, typer.Argument(metavar="LABELS", help="A .npy, .npz, .parquet, .csv or .txt file: one label per row.")
]
GalleryOption = Annotated[
    Path | None,
    typer.Option(
        "--gallery",
        metavar="FILE",
        help="Embeddings of the gallery that is searched. Without it, queries search each other.",
    ),
]
GalleryLabelsOption = Annotated[
    Path | None, typer.Option("--gallery-labels", metavar="FILE", help="Labels of the gallery.")
]
ConventionOption = Annotated[
    list[str],
    typer.Option(
        "--convention",
        metavar="NAME",
        help="Whose rules to follow: lossbench, pml, revisiting, ...; or all. May be repeated.",
    ),
]
DistanceOption = Annotated[
    Distance | None,
    typer.Option(
        "--distance",
        help="One distance for all conventions. Default: each convention's own, or that of the job in the folder.",
    ),
]
KOption = Annotated[str, typer.Option("--k", metavar="K,K", help="Every K of Recall@K.")]
RestartsOption = Annotated[int, typer.Option(min=0, help="Runs of k-means; 0 skips NMI and AMI.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of k-means.")]
DiagnosticsOption = Annotated[
    bool,
    typer.Option(
        "--diagnostics", help="Also say what the space looks like: alignment, uniformity and others, of the queries."
    ),
]


def evaluate(
    embeddings: VectorsArgument,
    labels: LabelsArgument = None,
    gallery: GalleryOption = None,
    gallery_labels: GalleryLabelsOption = None,
    convention: ConventionOption = ["lossbench"],  # noqa: B006
    distance: DistanceOption = None,
    k: KOption = "1,2,4,8",
    restarts: RestartsOption = 5,
    seed: SeedOption = 0,
    diagnostics: DiagnosticsOption = False,
    plugin: PluginOption = [],  # noqa: B006
    as_json: JsonOption = False,
) -> None:
    """Score stored embeddings. With several conventions, show them side by side and explain each difference."""
    from bench.matrix.plugins import use
    from bench.scoring.conventions.rescore import scorer
    from bench.scoring.conventions.rules import CONVENTIONS
    from bench.scoring.conventions.side_by_side import side_by_side, text, values

    use(plugin)
    ks = _ks(k)
    _chosen(convention, distance, has_gallery=gallery is not None)  # what is misspelt is told first
    images = _images(embeddings, labels, gallery, gallery_labels)
    if distance is None and images.distance == "hyperbolic":
        distance = Distance.hyperbolic
    chosen = _chosen(convention, distance, has_gallery=images.gallery is not None)
    if images.gallery is not None:  # which a job's folder may hold as well
        if silent := [name for name, one in CONVENTIONS.items() if "all" in convention and one.gallery is None]:
            say(f"{' and '.join(silent)} have no rules for a gallery, so they are left out")
        _warn_of_copies(images)
    _check_directions(images, chosen)
    if distance is Distance.hyperbolic:
        _check_ball(images, diagnostics=diagnostics)
    table = side_by_side(chosen, scorer(images, ks=ks, restarts=restarts, seed=seed))
    found = _diagnosed(images) if diagnostics else {}
    if as_json:
        seen = {name: value if math.isfinite(value) else None for name, value in found.items()}
        typer.echo(json.dumps(values(images, table) | ({"diagnostics": seen} if seen else {}), indent=2))
    else:
        typer.echo("\n\n".join([text(images, table), *([_diagnostics_text(found)] if found else [])]))


def _diagnosed(images: "EmbeddedImages") -> dict[str, float]:
    """Diagnostic -> value, of the queries."""
    from bench.scoring.diagnostics import diagnose

    return diagnose(images.points, images.labels)


def _diagnostics_text(found: dict[str, float]) -> str:
    from bench.matrix.catalogue import entries
    from bench.scoring.names import NONE

    names = {name: entry.label.partition(" (")[0] for name, entry in entries("diagnostics").items()}
    width = max(map(len, names.values()))
    shown = {name: NONE if math.isnan(value) else f"{value:.4f}".replace("-", "−") for name, value in found.items()}
    rows = [f"  {names[name]:<{width}}  {value:>8}" for name, value in shown.items()]
    return "\n".join(["Diagnostics of the queries, L2-normalised (none is a score):", *rows])


def _ks(text: str) -> list[int]:
    from bench.matrix.job import ConfigError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise ConfigError(f"--k {text} is not a list of whole numbers from 1 up: write it as 1,2,4,8.")
    return sorted({int(part) for part in parts})


def _chosen(names: Sequence[str], distance: Distance | None, *, has_gallery: bool) -> "dict[str, Any]":
    """Name -> convention and the rules that it follows here."""
    from bench.matrix.job import ConfigError
    from bench.scoring.conventions.rules import CONVENTIONS, convention

    found = {}
    asked = [*CONVENTIONS, *(name for name in names if name != "all")] if "all" in names else names
    for name in asked:
        one = convention(name)
        if distance is Distance.hyperbolic and name != "lossbench":
            if name in names:
                raise ConfigError(f"{name} has no hyperbolic distance: leave that convention out, or --distance.")
            continue
        rules = one.gallery if has_gallery else one.rules
        if rules is not None:
            found[name] = (one, rules if distance is None else rules._replace(distance=distance.value))
        elif name in names:
            raise ConfigError(f"{name} has no rules for a gallery: leave that convention out, or --gallery.")
    return found


def _images(file: Path, labels: Path | None, gallery: Path | None, gallery_labels: Path | None) -> "EmbeddedImages":
    import numpy as np

    from bench.matrix.job import ConfigError
    from bench.scoring.conventions.rescore import EmbeddedImages
    from bench.scoring.embeddings_file import read_embeddings

    if gallery is None and gallery_labels is not None:
        raise ConfigError("--gallery-labels needs a gallery: add --gallery.")
    stored = _told(file, read_embeddings(file))
    names, points, cut = _labels(file, stored, labels, "LABELS"), stored.points, stored.queries
    others, other_names = (points[cut:], names[cut:]) if cut < len(points) else (None, None)
    if gallery is not None:
        if others is not None:
            raise ConfigError(f"{file} already holds queries and their gallery: leave --gallery out.")
        found = _told(gallery, read_embeddings(gallery))
        others, other_names = found.points, _labels(gallery, found, gallery_labels, "--gallery-labels")
        if others.shape[1] != points.shape[1]:
            raise ConfigError(
                f"the queries have {points.shape[1]} dimensions, the gallery {others.shape[1]}: embed both alike."
            )
    every = names[:cut] if other_names is None else np.concatenate([names[:cut], other_names])
    if other_names is not None and not np.isin(names[:cut], other_names).any():
        say(
            f"no label of a query is in the gallery, so nothing can be found: the queries have '{names[0]}', the "
            f"gallery '{other_names[0]}'; write both alike"
        )
        raise typer.Exit(NOTHING)
    classes, numbers = np.unique(every, return_inverse=True)
    if len(classes) == 1:
        raise ConfigError(
            f"every label is {classes[0]!s}: give images of at least two classes, so that an answer can be wrong."
        )
    numbers = numbers.astype(np.int64)
    return EmbeddedImages(
        points[:cut], numbers[:cut], others, None if others is None else numbers[cut:], stored.distance
    )


def _told(file: Path, stored: "FileEmbeddings") -> "FileEmbeddings":
    """The same, after saying which columns of a wide table it was made of."""
    if stored.table is not None:
        say(f"{file}: {stored.table}")
    return stored


def _warn_of_copies(images: "EmbeddedImages") -> None:
    """Say how many queries are in their gallery with the very same embedding, and so find themselves."""
    import numpy as np

    assert images.gallery is not None
    kind = np.result_type(images.points, images.gallery)
    gallery = {row.tobytes() for row in images.gallery.astype(kind)}
    if copies := sum(row.tobytes() in gallery for row in images.points.astype(kind)):
        say(
            f"{copies:,} of {len(images.points):,} queries are in the gallery with the very same embedding, so each "
            "finds itself: leave copies out of the gallery"
        )


def _labels(file: Path, stored: "FileEmbeddings", labels: Path | None, option: str) -> Any:
    from bench.datasets.files.labels_file import read_labels
    from bench.matrix.job import ConfigError

    if labels is None and stored.labels is None:
        others = stored.table.left_out if stored.table else ()
        hint = f" (or name the column that holds them 'label'; it has {', '.join(others[:5])})" if others else ""
        raise ConfigError(f"{file} has no labels: add {option}{hint}.")
    found = stored.labels if labels is None else read_labels(labels)
    assert found is not None
    if len(found) != len(stored.points):
        heading = (
            f", or name it 'label' if {str(found[0])!r} is a heading" if len(found) == len(stored.points) + 1 else ""
        )
        raise ConfigError(
            f"{file} has {len(stored.points):,} rows, but {labels} has {len(found):,} labels: give one label per row"
            f"{heading}."
        )
    return found


def _check_ball(images: "EmbeddedImages", *, diagnostics: bool) -> None:
    import numpy as np

    from bench.matrix.job import ConfigError

    if diagnostics:
        raise ConfigError(
            "the diagnostics are of cosine similarity: leave --diagnostics out, or add --distance cosine."
        )
    for points in (images.points, images.gallery):
        if points is not None and (norms := np.linalg.norm(points.astype(np.float64), axis=1)).max() >= 1:
            row = int(norms.argmax())
            raise ConfigError(
                f"row {row + 1:,} has the norm {norms[row]:g}, and hyperbolic distance is of points inside the ball of "
                "radius 1: embed into that, or add --distance euclidean."
            )


def _check_directions(images: "EmbeddedImages", chosen: "dict[str, Any]") -> None:
    from bench.matrix.job import ConfigError

    if all(rules.distance != "cosine" for _, rules in chosen.values()):
        return
    for points in (images.points, images.gallery):
        if points is not None and not points.any(axis=1).all():
            row = int(points.any(axis=1).argmin()) + 1
            raise ConfigError(
                f"row {row:,} is all zeros, so it has no direction: leave it out, or add --distance euclidean."
            )
