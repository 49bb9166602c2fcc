import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def reference(shared: Path) -> ModuleType:
    """The specification as code, an oracle that shares nothing with the code under test."""
    place = shared / "statistics" / "reference.py"
    if not place.is_file():
        pytest.skip(f"{place} is not there: it is the oracle of these tests")
    spec = importlib.util.spec_from_file_location("statistics_reference", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
