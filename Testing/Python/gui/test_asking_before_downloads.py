"""Nothing is downloaded before the panel has asked, even where the scene of somebody else allows it."""

from __future__ import annotations

import pytest


@pytest.fixture
def recommended(panel, monkeypatch) -> list:
    """The settings of each choice of slices that is started; nothing is chosen."""
    found = []
    monkeypatch.setattr(panel.logic.panel, "recommend", lambda volumes, settings, **how: found.append(settings))
    panel.add_ball()
    parameters = panel.panel.session.parameters
    parameters.strategy, parameters.features = "representative", "autoencoder"
    parameters.downloadWeights, parameters.fromScratch = True, False
    return found


def click(panel) -> None:
    panel.ui.recommendButton.click()
    panel.application.processEvents()


def test_the_panel_asks_before_weights_are_downloaded_and_once_is_enough(panel, recommended):
    from SlicerStandIn import questions

    questions.answers.append(False)
    click(panel)
    (asked,) = questions.asked
    assert "VGG-19" in asked
    assert "548 MB" in asked
    assert not recommended[-1].download_weights

    questions.answers.append(True)
    click(panel)
    assert recommended[-1].download_weights

    click(panel)
    assert recommended[-1].download_weights
    assert len(questions.asked) == 2


@pytest.mark.parametrize(
    "choice",
    [
        {"downloadWeights": False},
        {"fromScratch": True},
        {"features": "intensity"},
        {"strategy": "staggered"},
    ],
)
def test_the_panel_does_not_ask_when_no_weights_are_needed(panel, recommended, choice):
    from SlicerStandIn import questions

    for name, value in choice.items():
        setattr(panel.panel.session.parameters, name, value)
    click(panel)
    assert questions.asked == []
    assert not recommended[-1].download_weights
