"""What is written from the code: tables of READMEs, and what type checkers read in losses/__init__.py.

`make tables` writes all of it anew; tests/cli/test_generated.py says when that is due.
"""

import re
from collections.abc import Callable
from pathlib import Path

from support.ensemble_tables import gains, levels

from bench.cli.list_formats import columns_markdown, markdown
from bench.matrix.catalogue import entries

ROOT = Path(__file__).parents[2]
KINDS = ("losses", "ensembles")


def families() -> str:
    """One import for each file that has a loss or an ensemble."""
    modules = {entry.module for kind in KINDS for entry in entries(kind).values()} | {"losses.shape"}
    return "\n".join(f"    from {module} import *  # noqa: F403" for module in sorted(modules))


PARTS: dict[str, Callable[[], dict[str, str]]] = {
    "losses/README.md": lambda: {kind: markdown(entries(kind).values()) for kind in KINDS},
    "losses/__init__.py": lambda: {"families": families()},
    "results/README.md": lambda: {"columns": "\n".join(columns_markdown())},
    "reports/ensembles.md": lambda: {
        "levels": levels(),
        "gains at equal size": gains(lambda one: one.grown),
        "gains at equal cost": gains(lambda one: one.longer),
    },
}
"""File -> what stands in it between `<!-- mark -->` and `<!-- end -->`, by mark."""


def between(text: str, mark: str, content: str) -> str:
    """The text with this between `<!-- mark -->` and `<!-- end -->`."""
    found, count = re.subn(
        rf"(<!-- {mark} -->\n).*?([ #]*<!-- end -->)", lambda at: f"{at[1]}{content}\n{at[2]}", text, flags=re.DOTALL
    )
    assert count == 1, f"there is no {mark} to be replaced"
    return found


def generated(file: str) -> str:
    """The text of a file as it should be."""
    text = (ROOT / file).read_text(encoding="utf-8")
    for mark, content in PARTS[file]().items():
        text = between(text, mark, content)
    return text


if __name__ == "__main__":
    for name in PARTS:
        (ROOT / name).write_text(generated(name), encoding="utf-8")
