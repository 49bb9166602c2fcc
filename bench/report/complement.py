"""Who complements whom: committees, pairs and their heat maps, as Markdown and in short for a terminal."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from bench.analysis.complement import Study
from bench.report.files import file_name, write_files
from bench.report.markdown import markdown_pictures, markdown_table, plain
from bench.report.plots.axes import COLOURS, HUES, MOST, canvas, figure_of, key, wrapped
from bench.report.plots.svg import INK, standalone, style, to_svg
from bench.report.tables import Cell, Table, percent
from bench.scoring.names import NONE
from bench.stats.intervals import interval

__all__ = ["terminal", "write"]

Floats = NDArray[np.float64]
FIRST, PARTNERS, BEST = 10, 5, 5
NUMBERS = 15
"""Up to this many members the cells of a heat map hold numbers."""
MORE, LESS, ON_COLOUR = HUES[6], COLOURS["ensemble"], "#101010"

COMMITTEE = (
    "Members are added one by one. Each step adds the member that raises Recall@1 most on one half of the test "
    "classes. The committee is then judged on the other half. Both halves take both parts in turn. Gains are over the "
    "best single objective, chosen in the same way."
)
PARTNERS_READ = (
    "For each objective A, the objectives B that find most of what A misses. Shares are percentages of the queries. "
    "Together is Recall@1 of the mean of both similarities, over the queries that fusion is judged on. Gain is over "
    "the better of the two."
)
GUIDE = (
    (
        "±",
        "Numbers are percentages, or points of Recall@1, averaged over seeds. ± is the half-width of the 95 % Student "
        "t interval over seeds. It covers neither another draw of the halves nor other test classes.",
    ),
    (
        "Both, only A, only B, neither",
        "A query is found if its nearest neighbour is of its own class. These are the shares of queries that both "
        "find, that only one of them finds, and that neither finds. Only B is the most that a perfect choice between "
        "the two could add to A.",
    ),
    (
        "Fusion",
        "The mean of the members' cosine similarities. This equals a concatenation of their L2-normalised embeddings, "
        "so the embedding grows with the number of members. Nothing is trained. The gain of a pair is over the better "
        "of the two. The better one is chosen in each seed by these same scores, so the gain is rather too low. Weak "
        "objectives gain more points than strong ones. A second seed of the same objective would gain some too. So "
        "look at Recall@1 together.",
    ),
    (
        "Other half, half chosen on",
        "The other half says what a choice is worth on classes that had no part in it. On the half chosen on, Recall@1 "
        "is too high, because the best of many is partly the luckiest. This holds for the single objective and for the "
        "committee alike. So the gain there may be too high or too low.",
    ),
    (
        "Pairs and heat maps",
        "They show all test classes. So the best pair is chosen by the scores that are shown, and is partly lucky "
        "too. The committee's other half is free of this.",
    ),
    (
        "Recall@1 of a committee",
        "The images of a half are compared with images of that half only. With fewer classes to confuse, Recall@1 is "
        "higher than on the leaderboard, so compare it within this table only. Each seed makes its own choice, on its "
        "own embeddings.",
    ),
)


def terminal(studies: Sequence[Study]) -> Group:
    """For `rich.console.Console.print`, per board: the committee, the best pairs, and what is missing."""
    return Group(*(part for study in studies for part in _narrow(study)))


def _narrow(study: Study) -> list[RenderableType]:
    sentences = (f"{_facts(study)}.", *study.missing)
    name = Text(f"{study.dataset}, {study.backbone}", style="bold")
    grids = [_grid("Committee, Recall@1 on the other half of the classes", _committee(study), 4)]
    return [name, *map(Text, sentences), *grids, _grid("Best pairs by Recall@1 together", _pairs(study), 4), Text()]


def _grid(title: str, table: Table, columns: int) -> Grid:
    grid = Grid(title=Text(title), title_justify="left", box=None, header_style="dim")
    for index, head in enumerate(table.heads[:columns]):
        grid.add_column(head, justify="left" if index < table.texts else "right", overflow="fold")
    for row in table.rows:
        grid.add_row(*(Text(cell.text) for cell in row[:columns]))
    return grid


def write(studies: Sequence[Study], output: Path, *, title: str = "Who complements whom") -> list[Path]:
    """Write complement.md and two heat maps per study into `output`; returns the files, the document last.

    The same studies give the same bytes. Raises ConfigError where `output` cannot be written or holds a file
    of the same name that is not from a report.
    """
    texts: dict[str, str] = {}
    links: list[list[tuple[str, str]]] = []
    with style():
        for study in studies:
            links.append([])
            for plot, caption, figure in _heat_maps(study):
                name = file_name((plot, study.dataset, study.backbone), taken=texts.keys())
                texts[name] = standalone(to_svg(figure, name=name))
                links[-1].append((caption, name))
    parts = [
        f"# {plain(title)}",
        "Made by `bench complement` from stored test embeddings. Nothing was trained for it.",
        *(part for study, found in zip(studies, links, strict=True) for part in _board(study, found)),
        "## How to read this",
        "\n".join(f"- **{plain(term)}:** {plain(text)}" for term, text in GUIDE),
    ]
    texts["complement.md"] = "\n\n".join(part for part in parts if part) + "\n"
    return write_files(output, texts)


def _board(study: Study, pictures: Sequence[tuple[str, str]]) -> list[str]:
    return [
        f"## {plain(study.dataset)}, {plain(study.backbone)}",
        f"{_facts(study)}.",
        "\n".join(f"- {plain(sentence)}" for sentence in study.missing),
        "### Committee",
        COMMITTEE,
        markdown_table(_committee(study)),
        "### Best pairs by Recall@1 together",
        markdown_table(_pairs(study)),
        "### Partners",
        PARTNERS_READ + _cut(study),
        markdown_table(_partners(study)),
        *markdown_pictures(pictures),
    ]


def _facts(study: Study) -> str:
    seeds = f"{'seed' if len(study.seeds) == 1 else 'seeds'} {', '.join(map(str, study.seeds))}"
    judged = "all of them" if study.judged == study.queries else f"{study.judged:,} of them, drawn class by class"
    return f"{len(study.labels)} objectives; {seeds}; {study.queries:,} queries; fusion is judged on {judged}"


def _cut(study: Study) -> str:
    count = len(study.labels)
    first = f" The best {FIRST} of {count} objectives A" if count > FIRST else ""
    partners = f"{' and' if first else ' The'} first {PARTNERS} of {count - 1} partners" if count - 1 > PARTNERS else ""
    return f"{first}{partners} are listed." if first or partners else ""


def _order(study: Study) -> NDArray[np.intp]:
    """Members by Recall@1, best first."""
    return np.argsort(-study.recall.mean(0), kind="stable")


def _committee(study: Study) -> Table:
    heads = ("Members", "Added (share of choices)", "Other half", "Gain", "Half chosen on", "Gain there")
    chosen, seen, unseen = study.committee
    rows = []
    for step in range(chosen.shape[2]):
        words = (Cell(str(step + 1)), Cell(_choices(study, chosen[:, :, step])))
        numbers = [
            cell
            for recall in (unseen, seen)
            for cell in (
                _over_seeds(recall[:, :, step]),
                _over_seeds(recall[:, :, step] - recall[:, :, 0], sign="+") if step else Cell(NONE),
            )
        ]
        rows.append((*words, *numbers))
    return Table(heads, tuple(rows), texts=2)


def _choices(study: Study, chosen: NDArray[np.int64]) -> str:
    """The members chosen at a step and how often, the usual ones by name."""
    counts = Counter(chosen.ravel().tolist()).most_common()
    named = [f"{study.labels[member]} ({100 * count / chosen.size:.0f} %)" for member, count in counts[:3]]
    others = len(counts) - len(named)
    return ", ".join(named) + (f", {others} other{'s' if others > 1 else ''}" if others else "")


def _over_seeds(values: Floats, *, sign: str = "") -> Cell:
    """Of [seeds, 2]: the mean of both halves, then of the seeds."""
    mean, width = interval(values.mean(1))
    return Cell(percent(mean, width, sign=sign), mean)


def _pairs(study: Study) -> Table:
    """The best pairs by Recall@1 together."""
    rows, columns = np.triu_indices(len(study.labels), 1)
    best = np.argsort(-study.together[rows, columns], kind="stable")[:BEST]
    recall = study.recall.mean(0)
    found = [sorted(pair, key=lambda one: -recall[one]) for pair in zip(rows[best], columns[best], strict=True)]
    cells = [(*(Cell(study.labels[one]) for one in pair), *_together(study, *pair)) for pair in found]
    return Table(("Objective", "With", "Together", "Gain"), tuple(cells), texts=2)


def _partners(study: Study) -> Table:
    heads = ("A", "B", "Recall@1 of A", "of B", "Both", "Only A", "Only B", "Neither", "Together", "Gain")
    order = _order(study)
    rows = []
    for a in order[:FIRST]:
        partners = sorted((b for b in order if b != a), key=lambda b: -study.only[b, a])
        rows += [_pair(study, a, b) for b in partners[:PARTNERS]]
    return Table(heads, tuple(rows), texts=2)


def _pair(study: Study, a: int, b: int) -> tuple[Cell, ...]:
    shares = (study.both[a, b], study.only[a, b], study.only[b, a], study.neither[a, b])
    numbers = (study.recall[:, a].mean(), study.recall[:, b].mean(), *shares)
    cells = (Cell(percent(float(number), math.nan)) for number in numbers)
    return (Cell(study.labels[a]), Cell(study.labels[b]), *cells, *_together(study, a, b))


def _together(study: Study, a: int, b: int) -> tuple[Cell, Cell]:
    gain, width = float(study.gain[a, b]), float(study.gain_half_width[a, b])
    return Cell(percent(float(study.together[a, b]), math.nan)), Cell(percent(gain, width, sign="+"))


def _heat_maps(study: Study) -> Iterator[tuple[str, str, Figure]]:
    """Name, caption and figure of both heat maps; members by Recall@1, best first."""
    order = _order(study)[:MOST]
    of_all = f", best {len(order)} of {len(study.labels)}" if len(order) < len(study.labels) else ""
    place = f"{study.dataset}, {study.backbone}{of_all}"
    labels, square = [study.labels[member] for member in order], np.ix_(order, order)
    gain = study.gain[square]
    best = max(float(gain.max()), 0.01)
    caption = "Fusion gain: Recall@1 of two objectives' mean similarity minus that of the better one, in points"
    marks = [
        (LESS, f"{percent(-best, math.nan)} points or less"),
        (MORE, f"{percent(best, math.nan, sign='+')} points"),
    ]
    yield "fusion_gain", caption, _heat(gain, gain / best, labels, f"Fusion gain: {place}", marks=marks, sign="+")
    only = np.where(np.eye(len(labels)), np.nan, study.only.T[square])
    middle, most = np.nanmedian(only, axis=1, keepdims=True), np.nanmax(only, axis=1, keepdims=True)
    caption = "Only B finds: share (%) of queries that the column's objective finds at rank 1 and the row's misses"
    marks = [(MORE, "the column that adds most to the row; colour begins at the row's median")]
    above = np.maximum(only - middle, 0) / np.maximum(most - middle, 1e-9)
    yield "only_b_finds", caption, _heat(only, above, labels, f"Only B finds (%): {place}", marks=marks)


def _heat(
    values: Floats,
    strength: Floats,
    labels: Sequence[str],
    title: str,
    *,
    marks: Sequence[tuple[str, str]],
    sign: str = "",
) -> Figure:
    """A square of `values`, coloured by `strength`, -1 to 1 and paper at 0; columns bear the numbers of the rows."""
    numbers = [str(number + 1) for number in range(len(labels))]
    names = [f"{wrapped(label)}\u2002{number}" for label, number in zip(labels, numbers, strict=True)]
    axes = canvas(names, title, top=0.85, bottom=0.1)
    # Nothing at 0 lets the page through, so that colours stand out on light and dark alike.
    stops = [(0.0, to_rgba(LESS, 0.8)), (0.5, to_rgba(LESS, 0)), (0.5, to_rgba(MORE, 0)), (1.0, to_rgba(MORE, 0.8))]
    pairs = ~np.eye(len(labels), dtype=bool)
    axes.pcolormesh(
        np.ma.masked_array(strength, ~pairs), cmap=LinearSegmentedColormap.from_list("stops", stops), vmin=-1, vmax=1
    )
    axes.set_xlim(0, len(labels))
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(labels)) + 0.5, numbers, size=9 if len(labels) <= NUMBERS else 6)
    axes.tick_params(axis="x", length=0)
    for row, column in np.argwhere(pairs) if len(labels) <= NUMBERS else ():
        text = percent(float(values[row, column]), math.nan, sign=sign)
        colour = INK if abs(strength[row, column]) < 0.8 else ON_COLOUR
        axes.text(column + 0.5, row + 0.5, text, color=colour, size=7, ha="center", va="center")
    key(figure_of(axes), [("■", colour, name) for colour, name in marks])
    return figure_of(axes)
