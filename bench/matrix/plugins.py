"""Plugins are put to use: the files that a command names, checked against all that has a name already."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from warnings import warn

from bench.matrix.catalogue import Entry, check, common, own_entries, plugin_entries
from bench.matrix.job import Job, Part
from bench.matrix.plugin_file import POSITIONAL, Plugin, PluginError, functions, problems, read
from bench.matrix.plugins_in_use import adopt, used

__all__ = ["unused", "use"]

KINDS = tuple(dict.fromkeys(POSITIONAL.values()))
TRAINED = ("losses", "ensembles")
"""They are members of ensembles alike, so that no name may be in both."""


def use(files: Sequence[str | Path]) -> None:
    """Choose from the parts of these files too, from now on in this process, instead of those named before.

    What an installed package offers and cannot be used is a warning.

    Raises:
        PluginError: a file cannot be used; one sentence per problem.
    """
    plugins = tuple({plugin.file: plugin for plugin in (read(Path(f).expanduser(), str(f)) for f in files)}.values())
    adopt(())
    packages = used()
    for sentence in _packages_left_out(packages):
        warn(sentence, stacklevel=3)
    if said := _wrong(plugins) or list(_clashes(packages, plugins)):
        raise PluginError("\n".join(dict.fromkeys(said)))
    adopt(plugins)


@cache
def _packages_left_out(packages: tuple[Plugin, ...]) -> Iterator[str]:
    """Said once in a process: the iterator is at its end the second time."""
    return iter([*_wrong(packages), *_clashes((), packages)])


def unused(files: Sequence[Plugin], jobs: Sequence[Job]) -> list[str]:
    """A sentence on each file of which no job has a part; a metric is of every job."""
    found = {sha for job in jobs for sha in _sources(job)}
    idle = [file for file in files if file.sha not in found and not plugin_entries("metrics", (file,))]
    return [f"{file.shown}: the matrix uses nothing of this plugin; name its functions there" for file in idle]


def _sources(job: Job) -> Iterator[str]:
    for part in (job.dataset, job.backbone, job.objective):
        yield from _hashes(part)


def _hashes(part: Part) -> Iterator[str]:
    if sha := part.plugin:
        yield sha
    for member in part.members:
        yield from _hashes(member)


def _wrong(plugins: tuple[Plugin, ...]) -> list[str]:
    """Parameters that no matrix could set, and defaults that are not what they say."""
    unread = [sentence for plugin in plugins for sentence in (*problems(plugin), *_covered(plugin))]
    if unread:
        return unread
    return [said for kind in KINDS for entry in plugin_entries(kind, plugins) if (said := _unfit_default(entry))]


def _covered(plugin: Plugin) -> Iterator[str]:
    """Parameters of backbones that are called like one that every backbone has."""
    for node in functions(plugin, "backbones"):
        shared = common(tuple(each.arg.lstrip("_") for each in node.args.args))
        for name in (each.arg for each in node.args.kwonlyargs if each.arg in shared):
            yield f"{plugin.shown}: {node.name}: every backbone has {name!r} already: give yours another name"


def _unfit_default(entry: Entry) -> str | None:
    stated = {name: each for name, each in entry.parameters.items() if not each.required}
    try:
        check(entry._replace(parameters=stated), {name: each.default for name, each in stated.items()})
    except ValueError as error:
        return f"{entry.source}: {error}: change the default or the type"
    return None


def _clashes(before: tuple[Plugin, ...], plugins: tuple[Plugin, ...]) -> Iterator[str]:
    """Names of parts of plugins that are there already: from lossbench, from those before, or from another of them."""
    if not plugins:
        return
    for group in (TRAINED, *((kind,) for kind in KINDS if kind not in TRAINED)):
        owners: dict[str, Entry] = {name: entry for kind in group for name, entry in own_entries(kind).items()}
        owners |= {entry.name: entry for kind in group for entry in plugin_entries(kind, before)}
        for entry in (entry for kind in group for entry in plugin_entries(kind, plugins)):
            if (owner := owners.setdefault(entry.name, entry)).file != entry.file:
                yield f"{entry.source}: the name {entry.name!r} is taken by {owner.source}: give yours another name"
