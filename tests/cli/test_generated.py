"""What is written from the code is in step with it."""

import pytest
from support.generated import PARTS, ROOT, generated


@pytest.mark.parametrize("file", PARTS)
def test_generated_text_is_in_step(file: str) -> None:
    assert generated(file) == (ROOT / file).read_text(encoding="utf-8"), "run make tables"
