"""Statements of reports/ensembles.md are what the committed rows say; tests/cli/test_generated.py holds its tables."""

import re
from collections import Counter
from collections.abc import Callable

import pytest
from support.ensemble_tables import ENSEMBLES, PLACES, ROOT, entry, place, stored

import bench
from bench import store
from bench.analysis.board_lines import FIRST
from bench.analysis.gain_intervals import Gain
from bench.analysis.gains import EnsembleGain
from bench.report.tables import Table, ladder, scoreboard

TEXT = (ROOT / "reports" / "ensembles.md").read_text(encoding="utf-8")
WORDS = " ".join(TEXT.split())
NUMBER = re.compile(r"[+−]?\d+\.\d ± \d+\.\d")
RANDOM, FROZEN, TUNED = [*PLACES][:3], [*PLACES][3:5], [*PLACES][5:]
TRAINED = [*FROZEN, *TUNED]
SECTIONS = {"From random weights": RANDOM, "On a frozen trunk": FROZEN, "Fine-tuned": TUNED}
IN_ONE_MODEL = ("sum", "PCGrad", "WEL", "WEDL", "WEDL, full heads", "WEDL-C")


def cells(table: Table) -> set[str]:
    return {cell.text for row in table.rows for cell in row}


def real(kind: str) -> set[tuple[str, str]]:
    """The ensembles and boards with a real gain of a kind."""
    found = {(name, heading): getattr(entry(place(heading), name), kind) for heading in PLACES for name in ENSEMBLES}
    return {where for where, gain in found.items() if gain and gain.above}


def gain(name: str, heading: str, kind: str) -> Gain:
    found = getattr(entry(place(heading), name), kind)
    assert isinstance(found, Gain)
    return found


def below(one: Gain) -> bool:
    return one.mean + one.half_width < 0


def undecided(one: Gain) -> bool:
    return not one.above and not below(one)


@pytest.mark.parametrize("title", SECTIONS)
def test_every_number_of_a_section_is_in_a_table_of_its_boards(title: str) -> None:
    section = TEXT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    boards = [place(heading) for heading in SECTIONS[title]]
    known = set().union(*(cells(table(board)) for board in boards for table in (ladder, scoreboard)))
    stated = NUMBER.findall(" ".join(section.split()))
    assert len(stated) >= 5
    assert [number for number in stated if number not in known] == []


def test_no_number_stands_outside_these_sections_and_the_tables() -> None:
    rest = re.sub(r"<!-- (levels|gains at equal \w+) -->.*?<!-- end -->", "", TEXT, flags=re.DOTALL)
    for title in SECTIONS:
        rest = rest.replace(rest.partition(f"\n## {title}\n")[2].partition("\n## ")[0], "")
    assert NUMBER.findall(rest) == []


def all_gains(chosen: Callable[[EnsembleGain], list[Gain | None]]) -> list[float]:
    return [one.mean for heading in PLACES for each in place(heading).gains for one in chosen(each) if one]


def of_four() -> list[tuple[str, EnsembleGain]]:
    """All ensembles of four losses, by board."""
    return [(heading, one) for heading in PLACES for one in place(heading).gains if len(one.line.members) == 4]


def recall(heading: str, label: str) -> float:
    (line,) = (one for one in place(heading).lines if one.label == label)
    return line.scores[FIRST].mean


def best_member(heading: str) -> str:
    return entry(place(heading), "sum").best[0].label


def moved(file: str) -> float:
    """How far the learned weights of four members have gone from 1/4, relative to it, at most."""
    rows, members = (
        bench.load(ROOT / "results" / f"{file}.parquet"),
        store.members(ROOT / "results" / f"{file}.parquet"),
    )
    own = members[members["key"].isin(rows.loc[rows["objective"].isin(["WEL", "WEDL"]), "key"])]
    assert len(own) > 0
    return float((own["weight"] / 0.25 - 1).abs().max())


CLAIMS: dict[str, Callable[[], bool]] = {
    "On no board is any ensemble of the four losses really above its best member when both have as many numbers per "
    "image, but for one: WEDL-C with 32 numbers, on cars and a frozen trunk.": lambda: (
        [(heading, one.line.label, one.line.dim) for heading, one in of_four() if one.grown and one.grown.above]
        == [("cars, frozen", "WEDL-C", 32)]
    ),
    "has +5.1 ± 2.5 over the better one on letters; at equal cost that is real.": lambda: (
        [
            (one.gain.above, one.longer.above)
            for one in place("letters").gains
            if one.line.label == "sum[triplet, normalized_softmax]" and one.gain and one.longer
        ]
        == [(False, True)]
    ),
    "Their sum is still below the best loss of that board.": lambda: (
        recall("letters", "sum[triplet, normalized_softmax]") < recall("letters", "smooth proxy_nca")
    ),
    "do gain up to six points.": lambda: 0.055 < max(all_gains(lambda one: [one.gain])) < 0.06,
    "neither is real. - **The plain sum": lambda: not {("WEL", "groceries"), ("WEDL", "groceries")} & real("gain"),
    "The weights that are learned stay within two percent of where they start.": lambda: moved("reference") < 0.02,
    "move by up to a fifth of where they start, instead of by two percent.": lambda: 0.15 < moved("finetune") < 0.2,
    "over the best member; the last two are real.": lambda: (
        {("concatenate", one) for one in RANDOM} & real("gain") == {("concatenate", one) for one in RANDOM[1:]}
    ),
    "Reduced to that member's size, all three are": lambda: {("concatenate", one) for one in RANDOM} <= real("reduced"),
    "is ahead on letters (−4.1 ± 1.3) and handwriting (−3.5 ± 1.0).": lambda: all(
        below(gain("concatenate", one, "longer")) for one in RANDOM[:2]
    ),
    "On groceries the two cannot be told apart (+0.1 ± 2.6).": lambda: undecided(
        gain("concatenate", "groceries", "longer")
    ),
    "on cars and +2.3 ± 1.0 on groceries, both real.": lambda: (
        {("WEDL, full heads", one) for one in FROZEN} <= real("gain")
    ),
    "is ahead on cars (−1.9 ± 0.6), and as good on groceries (+0.2 ± 1.2).": lambda: (
        below(gain("WEDL, full heads", "cars, frozen", "grown"))
        and undecided(gain("WEDL, full heads", "groceries, frozen", "grown"))
    ),
    "**At a member's size nothing gains.**": lambda: (
        not {(name, one) for name in ("WEL", "WEDL", "sum", "PCGrad") for one in FROZEN} & real("gain")
    ),
    "So at equal cost concatenation is really ahead there, by +3.9 ± 0.6; on groceries it is not": lambda: (
        {one for name, one in real("longer") if name == "concatenate"} == {"cars, frozen"}
    ),
    "On cars nothing that was trained reaches its features, whitened and reduced to 128 numbers.": lambda: (
        "0 of 15 lines are above the trunk alone (trunk(transform=whitened)" in place("cars, frozen").verdict.sentence
    ),
    "On groceries 3 of 15 lines are above it.": lambda: (
        "3 of 15 lines are above the trunk alone" in place("groceries, frozen").verdict.sentence
    ),
    "**Ensembles in one model: nothing.**": lambda: (
        not {(name, one) for name in IN_ONE_MODEL for one in TUNED} & (real("gain") | real("grown") | real("reduced"))
    ),
    "over it at that size; none of the four is real.": lambda: (
        not {("WEDL, full heads", one) for one in TUNED} & (real("gain") | real("grown"))
    ),
    "when reduced to its size; all are real. But": lambda: (
        {("concatenate", one) for one in TUNED} <= real("gain") & real("reduced")
    ),
    "On cars it is ahead of concatenation (−5.0 ± 0.9)": lambda: below(gain("concatenate", TUNED[1], "longer")),
    "concatenation is not above it (−1.1 ± 2.1).": lambda: ("concatenate", TUNED[0]) not in real("longer"),
    "is the highest line of both boards, with 56.6 ± 1.6 and 29.1 ± 0.7.": lambda: (
        [max(place(one).lines, key=lambda line: line.scores[FIRST].mean).label for one in TUNED]
        == ["proxy_anchor (epochs=12)", "normalized_softmax (epochs=12)"]
    ),
    "On groceries 14 of 15 lines are above the trunk alone": lambda: (
        "14 of 15 lines are above the trunk alone" in place(TUNED[0]).verdict.sentence
    ),
    "On cars only 2 of 15 are above it;": lambda: (
        "2 of 15 lines are above the trunk alone" in place(TUNED[1]).verdict.sentence
    ),
    "and is above it after twelve.": lambda: (
        recall(TUNED[1], "normalized_softmax (epochs=12)") > recall(TUNED[1], "trunk(transform=whitened)") > 0.2
    ),
    "at equal size, ensembles of the four losses in one model gain nothing, whatever the trunk, but for that "
    "one.": lambda: {where for where in real("grown") if where[0] in IN_ONE_MODEL} == {("WEDL-C", "cars, frozen")},
    "The plain sum does as well as WEL and WEDL.": lambda: all(
        gain("sum", one, "gain").mean + gain("sum", one, "gain").half_width > gain(name, one, "gain").mean
        for one in PLACES
        for name in ("WEL", "WEDL")
    ),
    "No ensemble gains ten points.": lambda: (
        max(all_gains(lambda one: [one.gain, one.reduced, one.grown, one.longer, one.naive])) < 0.1
    ),
    "From random weights it is mostly `smooth proxy_nca`, on a pretrained trunk mostly `normalized_softmax`.": lambda: (
        [
            Counter(entry(place(one), "sum").best[0].label for one in some).most_common(1)[0]
            for some in (RANDOM, TRAINED)
        ]
        == [("smooth proxy_nca", 2), ("normalized_softmax", 3)]
    ),
    "There, four models are worth their cost, and one larger head is worth more.": lambda: (
        gain("concatenate", "cars, frozen", "longer").above and below(gain("concatenate", "cars, frozen", "grown"))
    ),
}
"""What the page says -> whether the rows say so."""


@pytest.mark.parametrize("claim", CLAIMS)
def test_what_the_page_says_is_what_the_rows_say(claim: str) -> None:
    assert claim in WORDS
    assert CLAIMS[claim]()


def test_what_the_readme_says_of_a_frozen_trunk_and_of_size() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert "on car photos none reaches the trunk's own features." in readme
    (cars,) = (board for board in stored("frozen") if board.dataset.startswith("cars196_half"))
    trained = [line.scores[FIRST].mean for line in cars.lines if line.kind == "loss"]
    trunk = [line.scores[FIRST].mean for line in cars.lines if line.objective.startswith("trunk")]
    assert (len(trained), len(trunk)) == (53, 3)
    assert max(trained) < min(trunk)
    assert "Several models may, but one larger embedding is then as good." in readme
    assert not {where for where in real("grown") if where[0] in {"concatenate", "mean_similarity"}}
