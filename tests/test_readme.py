import re
import tomllib
from pathlib import Path

import pytest

from bench.catalogue import entries
from bench.config import Matrix
from bench.expand import expand
from bench.listing import markdown

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "results/README.md", "reports/README.md"]


def test_the_matrix_of_the_readme_expands():
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(expand(Matrix.model_validate(tomllib.loads(text)))) == 2 * 2 * 5 * 3


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    targets = re.findall(r"(?<!\\)\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert missing == []


def test_the_catalogue_of_losses_is_in_step():
    """Put the output of `bench list losses --markdown` between the two marks."""
    (table,) = re.findall(r"<!-- losses -->\n(.*)\n<!-- end -->", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert table.strip() == markdown(entries("losses").values())


def test_every_column_is_explained():
    """Of the committed reference results, by results/README.md."""
    import bench

    text = (ROOT / "results/README.md").read_text(encoding="utf-8")
    columns = bench.load(ROOT / "results/reference.parquet").columns
    unexplained = [name for name in columns if f"`{re.sub('recall_at_[0-9]+$', 'recall_at_K', name)}`" not in text]
    assert unexplained == []
