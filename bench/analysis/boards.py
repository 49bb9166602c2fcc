"""From stored rows to boards: one board per dataset and backbone, one line per cell. Pure values, no text layout."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.analysis.board_comparison import MOST_GROUPED
from bench.analysis.board_lines import FIRST, Line, lines
from bench.analysis.board_verdict import Verdict, leading, verdict
from bench.analysis.differing_settings import UNUSED, differing_fields, recipe_fields, settings, told_apart, usual
from bench.analysis.gains import EnsembleGain, gains
from bench.analysis.older_jobs import with_jobs
from bench.analysis.row_identity import identify
from bench.analysis.stopping import stopping_notes
from bench.analysis.trained_models import Models, trained_models
from bench.analysis.trunk_floor import TrunkFloor, trunk_floor
from bench.matrix.file import Matrix
from bench.matrix.job import Job
from bench.matrix.recipe import complete
from bench.matrix.search_space import RATES
from bench.store.columns import known, scores

__all__ = ["Board", "Searches", "Unfinished", "boards", "searches"]

Searches = Mapping[tuple[str, str], Sequence[str]]
"""By labels of dataset and backbone: how the settings of that board's objectives were searched."""


class Unfinished(NamedTuple):
    """Cells without scores that share a label, a status and a reason."""

    label: str
    """The objective, with its variant in brackets."""
    seeds: tuple[int, ...]
    status: str
    reason: str


class Board(NamedTuple):
    """What is comparable: same test images, same trunk, same protocol."""

    dataset: str
    backbone: str
    metrics: tuple[str, ...]
    """Names of the columns that hold a value, Recall@K first."""
    lines: tuple[Line, ...]
    """By Recall@1, best first."""
    verdict: Verdict
    """What the seeds say about that order."""
    leading: Mapping[str, frozenset[str]]
    """By metric, the cells of the leading group: no other is better than these, and they cannot be told apart."""
    chance: Mapping[str, float]
    """Metric to what a random embedding scores, in [0, 1], where it was stored."""
    queries: str
    recipe: str
    """The board's most common recipe, such as "epochs=10, dim=128"."""
    unfinished: tuple[Unfinished, ...]
    notes: tuple[str, ...]
    overlap: str | None
    """What the trunk's pretraining has seen of the test set, beginning with a grade; None for random weights."""
    near_duplicates: int
    """Test images with a near-duplicate among the training images, as far as these were compared."""
    trunk: TrunkFloor | None
    """The pretrained trunk alone, where a line stands for it."""
    gains: tuple[EnsembleGain, ...]
    """One entry for each ensemble and model ensemble, in the order of the lines."""
    whole: Job | None
    """One of its jobs, of whose dataset nothing was left out; None where it is not known, or the data has versions."""


def boards(rows: pd.DataFrame, jobs: Sequence[Job] = (), searched: Searches | None = None) -> list[Board]:
    """Boards of `rows` (one row per job, as `bench.load` gives them), by dataset and backbone.

    Averaged in one line is what shares a cell, and nothing else: neither other parameters, recipes or protocols (the
    newest counts), nor other versions of the data. Labels and kinds are those of `jobs`, else the stored ones.
    What is `searched` is said of its board. There a line is what was searched: its label, whatever rates and parameters
    were found.
    """
    if rows.empty:
        return []
    # Where nothing finished, columns that only a finished row fills may be missing altogether.
    whole = rows.reindex(columns=list(dict.fromkeys((*rows.columns, *known()))))
    whole = whole.assign(recipe=whole["recipe"].map({text: _complete(text) for text in rows["recipe"].unique()}))
    found, newest, metrics = identify(whole, jobs), int(rows["protocol"].max()), scores(list(rows.columns))
    models = trained_models(with_jobs(found.rows))
    groups = found.rows.groupby(["dataset", "backbone", "place"], sort=True)
    said: dict[Any, Sequence[str]] = dict(searched or {})
    return [
        _board(cells, found.jobs, models, newest=newest, metrics=metrics, searched=said.get(at[:2], ()))
        for at, cells in groups
    ]


def searches(asked: Iterable[tuple[Matrix, Iterable[Job]]]) -> Searches:
    """How the settings of matrices, each with its jobs, were found, by board."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for search, jobs in ((matrix.searched, jobs) for matrix, jobs in asked if matrix.searched):
        for board in {(job.dataset.label, job.backbone.label) for job in jobs}:
            found[board] = tuple(dict.fromkeys((*found.get(board, ()), search.sentence)))
    return found


def _complete(recipe: str) -> str:
    """The recipe (JSON) with the fields that are newer than its row."""
    return json.dumps(complete(json.loads(recipe)))


def _board(
    cells: pd.DataFrame,
    jobs: Mapping[str, Job],
    models: Models,
    *,
    newest: int,
    metrics: Sequence[str],
    searched: Sequence[str],
) -> Board:
    current = cells[cells["protocol"] == newest]
    but = RATES if searched else ()
    most = {name: value for name, value in usual(current["recipe"]).items() if name not in but}
    latest = _latest(_named(current.assign(variant=_variants(current, jobs, most, but)), {} if searched else jobs))
    done = latest[latest["status"] == "done"]
    present = tuple(name for name in metrics if done[name].notna().any())
    found = lines(latest, done, present, models)
    order, alone = verdict(found), trunk_floor(found, jobs)
    said = " ".join(filter(None, (order.sentence, alone.sentence if alone else "")))
    return Board(
        dataset=str(cells["dataset"].iloc[0]),
        backbone=str(cells["backbone"].iloc[0]),
        metrics=present,
        lines=tuple(found),
        verdict=order._replace(sentence=said),
        leading={name: order.leading if name == FIRST else leading(found, name) for name in present},
        chance={name: float(done[f"{name}_chance"].mean()) for name in present if _has(done, f"{name}_chance")},
        queries=_queries(done),
        recipe=", ".join(f"{name}={value}" for name, value in most.items() if UNUSED.get(name) != value),
        unfinished=tuple(_unfinished(latest[latest["status"] != "done"])),
        overlap=next(iter(sorted(latest["overlap"].dropna().unique())), None),
        near_duplicates=int(latest["near_duplicates"].max()) if latest["near_duplicates"].notna().any() else 0,
        notes=(
            *searched,
            *_left_out(latest),
            *stopping_notes(latest),
            *_notes(len(cells) - len(current), newest, len(current) - len(latest)),
            *_ungrouped(order),
            *_at_test_time(found),
        ),
        trunk=alone,
        gains=tuple(gains(found, {cell: jobs[cell] for cell in latest["cell"].unique() if cell in jobs})),
        whole=_whole(latest, jobs),
    )


def _whole(latest: pd.DataFrame, jobs: Mapping[str, Job]) -> Job | None:
    """A job whose dataset is all of the data: nothing left out, and no other version of it among the rows."""
    job = next((jobs[cell] for cell in sorted(latest["cell"].unique()) if cell in jobs), None)
    place = job and job.digests.dataset + job.digests.backbone  # without the version that `identify` puts between
    return job if place in set(latest["place"]) and latest["left_out"].isna().all() else None


def _variants(
    cells: pd.DataFrame, jobs: Mapping[str, Job], most: Mapping[str, str], but: Sequence[str]
) -> "pd.Series[str]":
    """In what each row's recipe differs from the usual one; and where that leaves two cells alike, in what they do.

    Fields `but` are those that `most` is without, as they differ anyway.
    """
    fields = {text: recipe_fields(text) for text in cells["recipe"].unique()}
    recipes = {
        text: differing_fields({name: value for name, value in own.items() if name not in but}, most)
        for text, own in fields.items()
    }
    first = cells[["cell", "objective", "recipe"]].drop_duplicates("cell")
    found = first.assign(variant=first["recipe"].map(recipes)).set_index("cell")
    variants = found["variant"].to_dict()
    for _, alike in found[found.duplicated(["objective", "variant"], keep=False)].groupby(["objective", "variant"]):
        apart = told_apart({cell: settings(jobs[cell]) if cell in jobs else {} for cell in alike.index})
        variants |= {cell: ", ".join(filter(None, (variants[cell], text))) for cell, text in apart.items()}
    return cells["cell"].map(variants).astype(str)


def _named(cells: pd.DataFrame, jobs: Mapping[str, Job]) -> pd.DataFrame:
    """The rows with what their method is on any dataset."""
    labels = dict(zip(cells["cell"], cells["objective"], strict=True))
    named = {cell: jobs[cell].digests.objective if cell in jobs else label for cell, label in labels.items()}
    return cells.assign(method=cells["cell"].map(named).astype(str) + " " + cells["variant"])


def _latest(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and seed: finished before unfinished, then the one started last."""
    order = ["finished", "started", "key"]
    ordered = cells.assign(finished=cells["status"] == "done").sort_values(order, na_position="first")
    return ordered.drop_duplicates(["cell", "seed"], keep="last")


def _has(done: pd.DataFrame, column: str) -> bool:
    return column in done and bool(done[column].notna().any())


def _queries(done: pd.DataFrame) -> str:
    """How many queries there are, and how many of them are left out of the means."""
    counts = sorted({int(count) for count in done["queries"].dropna()})
    without = sorted({int(count) for count in done["queries_without_hit"].dropna() if count})
    text = " or ".join(f"{count:,}" for count in counts)
    left_out = f"; {' or '.join(f'{count:,}' for count in without)} have no match to find and are left out"
    return f"{text} queries{left_out if without else ''}" if counts else ""


def _unfinished(cells: pd.DataFrame) -> list[Unfinished]:
    reasons = cells["reason"].fillna("No reason was stored.").astype(str)
    names = (cells["objective"] + " (" + cells["variant"] + ")").where(cells["variant"] != "", cells["objective"])
    groups = cells.assign(label=names, reason=reasons).groupby(["label", "status", "reason"], sort=True)
    return [
        Unfinished(str(name[0]), tuple(sorted(map(int, part["seed"]))), str(name[1]), str(name[2]))
        for name, part in groups
    ]


def _left_out(cells: pd.DataFrame) -> list[str]:
    """What of the data was not used; one note for each version of the data."""
    return [f"Left out of the data: {said}." for said in sorted(cells["left_out"].dropna().unique())]


def _at_test_time(found: Sequence[Line]) -> list[str]:
    labels = [line.label for line in found if line.at_test_time]
    several = len(labels) > 1
    said = f"{', '.join(labels)}: {'each is ' if several else ''}one trained model with another search at test time."
    return [f"{said} It sees no label and trains nothing. The plain line stays the main one."] if labels else []


def _notes(older: int, newest: int, doubles: int) -> list[str]:
    notes = []
    if older:
        notes.append(f"{_rows(older)} left out: measured under a protocol older than {newest}, so not comparable.")
    if doubles:
        notes.append(f"{_rows(doubles)} left out: the same objective, recipe and seed was stored again later.")
    return notes


def _ungrouped(order: Verdict) -> list[str]:
    ranked = sum(place.ranks is not None for place in order.places.values())
    said = (
        f"{ranked:,} methods are ranked here: of more than {MOST_GROUPED}, the letters of ties are left out, and the "
        "leading group is marked for Recall@1 alone."
    )
    return [said] if ranked > MOST_GROUPED else []


def _rows(count: int) -> str:
    return f"{count:,} row{'s are' if count > 1 else ' is'}"
