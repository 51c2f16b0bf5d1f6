from __future__ import annotations

import pytest


@pytest.fixture
def logic(mrml, tmp_path):
    """The scripting interface, in the embedded scene."""
    from SparseAnnotate import SparseAnnotateLogic

    logic = SparseAnnotateLogic()
    logic.cohortFolder = tmp_path / "cohort"
    yield logic
    logic.close()
