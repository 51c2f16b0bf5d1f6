"""What is reported of the headers of many scans before the first of them is labeled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from SparseAnnotateLib.core import BadInputError, Watch
from SparseAnnotateLib.worker import prediction_warnings
from SparseAnnotateLib.worker.prediction_warnings import DifferenceWarnings

DAMAGED = 5


@pytest.fixture
def checked(monkeypatch):
    """The places of the images whose headers were read, of which each takes a second; all have an odd grid."""
    places: list[int] = []
    monkeypatch.setattr(prediction_warnings.time, "monotonic", lambda: float(len(places)))
    monkeypatch.setattr(prediction_warnings.GridFacts, "of_grid", lambda geometry: geometry)
    monkeypatch.setattr(
        prediction_warnings, "difference_sentence", lambda _card, _grid, known=None: "Odd." * (not known)
    )
    return places


def _odd(_card, _grid, known=None) -> str:
    return "" if known else "Odd."


def announced(checked: list[int], count: int) -> None:
    def geometry_of(place: int):
        checked.append(place)
        if place == DAMAGED:
            raise BadInputError("damaged")
        return SimpleNamespace()

    warnings = DifferenceWarnings(SimpleNamespace(images=object()))
    warnings.announce([f"s{place}" for place in range(count)], geometry_of, Watch())


def test_all_headers_are_checked_where_that_takes_no_long_time(checked, caplog):
    announced(checked, 20)
    assert sorted(checked) == list(range(20))
    assert caplog.messages == ["'s0', 's1', 's2' and 16 more (19 images): Odd."]


def test_of_thousands_some_that_are_spread_over_all_of_them_are_checked(checked, caplog):
    announced(checked, 1000)
    assert len(checked) == len(set(checked)) == 31
    for first in range(0, 1000, 100):
        assert any(first <= place < first + 100 for place in checked)
    assert "The headers of 31 of the 1000 images were checked before the first one is labeled." in caplog.text
    assert "(31 images): Odd." in caplog.text
