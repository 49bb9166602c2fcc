"""What is written from the functions of losses/: the tables of its README, and what type checkers read in __init__.py.

`python tests/support/generated_losses.py` writes both anew; tests/losses/test_generated.py says when that is due.
"""

import re
from pathlib import Path

from bench.cli.listing import markdown
from bench.matrix.catalogue import entries

LOSSES = Path(__file__).parents[2] / "losses"
KINDS = ("losses", "ensembles")


def between(text: str, mark: str, content: str) -> str:
    """The text with this between `<!-- mark -->` and `<!-- end -->`."""
    found, count = re.subn(
        rf"(<!-- {mark} -->\n).*?([ #]*<!-- end -->)", lambda at: f"{at[1]}{content}\n{at[2]}", text, flags=re.DOTALL
    )
    assert count == 1, f"there is no {mark} to be replaced"
    return found


def families() -> str:
    """One import for each file that has a loss or an ensemble."""
    modules = {entry.module for kind in KINDS for entry in entries(kind).values()} | {"losses.shape"}
    return "\n".join(f"    from {module} import *  # noqa: F403" for module in sorted(modules))


def generated() -> dict[Path, str]:
    """File -> its text as it should be."""
    page, package = LOSSES / "README.md", LOSSES / "__init__.py"
    text = page.read_text(encoding="utf-8")
    for kind in KINDS:
        text = between(text, kind, markdown(entries(kind).values()))
    return {page: text, package: between(package.read_text(encoding="utf-8"), "families", families())}


if __name__ == "__main__":
    for path, content in generated().items():
        path.write_text(content, encoding="utf-8")
