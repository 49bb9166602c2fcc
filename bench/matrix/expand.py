"""A matrix becomes jobs: names looked up, parameters resolved, every entry checked before anything trains."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from bench.matrix.catalogue import FEATURES, PML, Entry, check, did_you_mean, entries, find
from bench.matrix.file import Matrix, sentences
from bench.matrix.file_hash import sha256
from bench.matrix.frozen_backbones import TRUNK, given_weights, unfit_to_freeze
from bench.matrix.job import PLUGIN, TRAINED, ConfigError, Job, Kind, Part
from bench.matrix.packaged_weights import content
from bench.matrix.pml_parts import settled, small_memory
from bench.matrix.pml_source import pml_version
from bench.matrix.printable import without_control
from bench.matrix.recipe import Recipe
from bench.matrix.seeds import block_from

__all__ = ["expand"]

OBJECTIVES = ("losses", "ensembles", "model_ensembles", "students", "floors")
"""The entries of a matrix that become lines of its tables."""


OF_OTHERS: Mapping[str, Kind] = {"model_ensembles": "model_ensemble", "students": "student"}
"""Entries whose members are other entries, and what they become."""


class Objective(NamedTuple):
    """A resolved entry of the matrix."""

    kind: Kind
    part: Part
    members: tuple["Objective", ...] = ()


def expand(matrix: Matrix) -> tuple[Job, ...]:
    """All jobs, those that need no others first; every parameter resolved and checked.

    Raises:
        ConfigError: unknown names or parameters, wrong members, repeated entries; one sentence per problem.
    """
    problems: list[str] = []
    labelled = {part.label: part for part in matrix.losses if part.label}
    parts = {
        kind: [
            _resolved(kind, index, part, labelled, matrix.recipe, problems)
            for index, part in enumerate(getattr(matrix, kind))
        ]
        for kind in ("datasets", "backbones", *OBJECTIVES)
    }
    trained = [Objective("loss", part) for part in parts["losses"] if part]
    trained += [Objective("ensemble", part) for part in parts["ensembles"] if part]
    floors = [Objective("floor", part) for part in parts["floors"] if part]
    named = _by_name(trained)
    fused = [
        _of_others(kind, index, part, named, problems)
        for kind in OF_OTHERS
        for index, part in enumerate(parts[kind])
        if part
    ]
    problems += [
        f"{objective.part.label!r} fuses {objective.part.seeds} seeds, but the matrix has {len(matrix.seeds)}"
        for objective in fused
        if objective.part.seeds > len(matrix.seeds)
    ]
    problems += _repeats([part for kind in OBJECTIVES for part in parts[kind]])
    problems += _repeats(parts["datasets"]) + _repeats(parts["backbones"])
    if problems:
        raise ConfigError("\n".join(problems))
    places = [(d, b) for d in parts["datasets"] for b in parts["backbones"] if d and b]
    floors += _trunk_floors(floors)
    jobs = [
        _job(matrix.recipe, *place, seeds, objective)
        for objectives in (trained, floors, fused)
        for place in places
        for seed in matrix.seeds
        for objective in objectives
        if not _on_features(objective) or given_weights(place[1])
        if (seeds := block_from(seed, matrix.seeds, objective.part.seeds))
    ]
    _refuse_small_memories(jobs)
    _refuse_same_job(jobs)
    _refuse_lone_images(jobs)
    if unfit := dict.fromkeys(sentence for job in jobs if (sentence := unfit_to_freeze(job.backbone, job.recipe))):
        raise ConfigError("\n".join(unfit))
    return tuple(jobs)


def _resolved(
    kind: str, index: int, part: Part, labelled: Mapping[str, Part], recipe: Recipe, problems: list[str]
) -> Part | None:
    """The part with every parameter and its label, or None and a new problem."""
    where = f"{kind}.{index}"
    try:
        if part.recipe:
            Recipe.model_validate({**recipe.model_dump(), **part.recipe})
        return _resolve_of_others(kind, part) if kind in OF_OTHERS else _resolve(part, kind, labelled)
    except ValidationError as error:
        problems += [f"{where}.{sentence}" for sentence in sentences(error, inside=("recipe",))]
    except (LookupError, ValueError) as error:
        problems.append(f"{where}: {error.args[0]}")
    return None


def _resolve(part: Part, kind: str, labelled: Mapping[str, Part]) -> Part:
    if part.seeds > 1:
        raise ValueError(
            f"seeds = {part.seeds} belongs to a model ensemble; {part.name} is trained with each seed apart"
        )
    entry = find(kind, part.name)
    parameters, shown = _settled(entry, part.parameters)
    if (kind == "ensembles") != bool(part.members):
        raise ValueError(
            f"{part.name} needs members = [...]" if kind == "ensembles" else f"{part.name} takes no members"
        )
    members = tuple(_member(member, labelled) for member in part.members)
    label = part.label or _label(part.name, members, shown)
    contents = _contents(kind, part.name, parameters) | _plugin(entry)
    update = {"parameters": parameters, "members": members, "label": label, "contents": contents}
    return part.model_copy(update=update)


def _plugin(entry: Entry) -> dict[str, str]:
    """What the plugin holds that a part is from."""
    return {PLUGIN: entry.plugin.sha} if entry.plugin else {}


def _settled(entry: Entry, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameters of a part, and those that its label shows."""
    if entry.name.startswith(PML):
        return settled(entry, given)
    parameters = check(entry, given)
    return parameters, {k: v for k, v in parameters.items() if v != entry.parameters[k].default}


def _contents(kind: str, name: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """What the files hold that a backbone starts from: one that it names, else one that an installed package ships.

    Of a loss of pytorch-metric-learning, whose code it is.
    """
    if name.startswith(PML):
        return {"pytorch_metric_learning": pml_version()}
    if kind != "backbones":
        return {}
    file = parameters.get("weights")
    if file is None:
        packaged = content(name.partition("/")[2]) if parameters.get("pretrained") else None
        return {"pretrained": packaged} if packaged else {}
    try:
        return {"weights": sha256(Path(file))}
    except OSError as error:
        raise ValueError(f"weights = {file!r} cannot be read ({error.strerror}); name a file of weights") from None


def _on_features(objective: Objective) -> bool:
    """Whether it is a floor of a trunk's features, which says nothing of a trunk with random weights."""
    return objective.kind == "floor" and find("floors", objective.part.name).positional == FEATURES


def _trunk_floors(floors: Sequence[Objective]) -> list[Objective]:
    """The pretrained trunk alone, in every form, which stands on every board that has one; those not asked for."""
    forms: tuple[dict[str, str], ...] = ({}, {"transform": "standardised"}, {"transform": "whitened"})
    parts = [_resolve(Part(name=TRUNK, parameters=form), "floors", {}) for form in forms]
    asked = [floor.part.parameters for floor in floors if floor.part.name == TRUNK]
    return [Objective("floor", part) for part in parts if part.parameters not in asked]


def _member(part: Part, labelled: Mapping[str, Part]) -> Part:
    """A loss or an ensemble inside an ensemble; a bare label stands for the loss that carries it."""
    if part.recipe:
        raise ValueError(f"the member {part.name!r} has a recipe, but members train together; give it to the ensemble")
    part = labelled.get(part.name, part).model_copy(update={"recipe": {}})
    return _resolve(part, "ensembles" if part.name in entries("ensembles") else "losses", labelled)


def _resolve_of_others(kind: str, part: Part) -> Part:
    entry = find(kind, part.name)
    if not part.members:
        raise ValueError(f"{part.name} needs members = [...], names or labels from losses and ensembles")
    parameters = check(entry, part.parameters)
    shown = {**part.parameters, **({"seeds": part.seeds} if part.seeds > 1 else {})}
    label = part.label or _label(part.name, part.members, shown)
    return part.model_copy(update={"parameters": parameters, "label": label, "contents": _plugin(entry)})


def _by_name(trained: Sequence[Objective]) -> Mapping[str, list[Objective]]:
    """The entries that a member's name may mean: those with this label, else those of this part."""
    labels: defaultdict[str, list[Objective]] = defaultdict(list)
    names: defaultdict[str, list[Objective]] = defaultdict(list)
    for objective in trained:
        labels[objective.part.label].append(objective)
        names[objective.part.name].append(objective)
    return names | labels


def _of_others(
    kind: str, index: int, part: Part, named: Mapping[str, list[Objective]], problems: list[str]
) -> Objective:
    """Point each member of a model ensemble, or teacher of a student, at the entry of the matrix that trains it."""
    members = []
    for member in part.members:
        matches = named.get(member.name, [])
        if len(matches) == 1 and member == Part(name=member.name):
            members += matches
        elif len(matches) == 1:
            problems.append(f"{kind}.{index}: name the member {member.name!r} alone; it is trained as it stands")
        elif matches:
            problems.append(f"{kind}.{index}: {member.name!r} could be several entries; give one a label and name that")
        else:
            known = list(dict.fromkeys(objective.part.label for found in named.values() for objective in found))
            problems.append(f"{kind}.{index}: {member.name!r} is not trained here{did_you_mean(member.name, known)}")
    resolved = tuple(objective.part for objective in members)
    update: dict[str, Any] = {"members": resolved}
    if kind == "students" and members:
        update["recipe"] = {**members[0].part.recipe, **part.recipe}
    return Objective(OF_OTHERS[kind], part.model_copy(update=update), tuple(members))


def _label(name: str, members: Iterable[Part], parameters: Mapping[str, Any]) -> str:
    shown = [part.label or part.name for part in members]
    settings = [f"{key}={value}" for key, value in parameters.items()]
    whole = name + (f"[{', '.join(shown)}]" if shown else "") + (f"({', '.join(settings)})" if settings else "")
    return without_control(whole)


def _repeats(parts: list[Part | None]) -> list[str]:
    """Two entries that are the same job, or that a table could not tell apart."""
    problems = []
    seen: dict[str, Part] = {}
    for part in filter(None, parts):
        if part.label in seen:
            problems.append(f"{part.label!r} stands twice; remove one, or give each a label of its own")
        seen[part.label] = part
    return problems


def _refuse_same_job(jobs: list[Job]) -> None:
    seen: dict[str, Job] = {}
    for job in jobs:
        other = seen.setdefault(job.key, job)
        if other is not job:
            one, two = _apart(other, job)
            raise ConfigError(f"{one!r} and {two!r} are the same job; remove one")


def _apart(one: Job, other: Job) -> tuple[str, str]:
    """Labels of two jobs: of the part by which they differ."""
    parts = [(getattr(one, name).label, getattr(other, name).label) for name in ("objective", "backbone", "dataset")]
    return next((pair for pair in parts if pair[0] != pair[1]), parts[0])


def _refuse_lone_images(jobs: list[Job]) -> None:
    """Batches of one image per class, for a loss that compares images of a class."""
    for job in (job for job in jobs if job.kind in TRAINED):
        losses = _losses(job.objective)
        comparing = [loss.name for loss in losses if "P × K batches" in find("losses", loss.name).needs]
        if comparing and job.recipe.epochs and job.recipe.images_per_class == 1:
            raise ConfigError(
                f"{comparing[0]} compares images of a class; add --set recipe.images_per_class=2, or more"
            )


def _refuse_small_memories(jobs: list[Job]) -> None:
    """Batches that are larger than the memory of a loss."""
    for job in (job for job in jobs if job.kind in TRAINED and job.recipe.epochs):
        images = job.recipe.classes_per_batch * job.recipe.images_per_class
        for loss in _losses(job.objective):
            if sentence := small_memory(loss.name, loss.parameters, images):
                raise ConfigError(sentence)


def _losses(part: Part) -> list[Part]:
    """The losses in an objective."""
    return [loss for member in part.members for loss in _losses(member)] if part.members else [part]


def _job(recipe: Recipe, dataset: Part, backbone: Part, seeds: Sequence[int], objective: Objective) -> Job:
    """A cell; `seeds` are those of its members, the first is its own."""
    overrides = {**dataset.recipe, **backbone.recipe, **objective.part.recipe}
    return Job(
        dataset=dataset,
        backbone=backbone,
        objective=objective.part,
        kind=objective.kind,
        seed=seeds[0],
        recipe=Recipe.model_validate({**recipe.model_dump(), **overrides}) if overrides else recipe,
        members=tuple(_job(recipe, dataset, backbone, [s], member) for member in objective.members for s in seeds),
    )
