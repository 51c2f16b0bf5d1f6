"""Recommend: the budget, how to choose, the planner's advice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, Plane
from ..selection import FEATURES, STRATEGIES, Budget, Scope, SelectionSettings
from .choice_labels import choose, chosen_part
from .data_step import PLANE_BOXES
from .session import PanelSession, duration
from .step import Step
from .words import in_users_language


class RecommendStep(Step):
    """Puts slices into the worklist.

    Args:
        on_recommended: called when slices were recommended, with the volume when it was only one, else None.
    """

    def __init__(self, session: PanelSession, on_recommended: Callable[[Any], None]):
        super().__init__(session, session.ui.recommendSection)
        self._on_recommended = on_recommended
        self._plan = None
        self._may_download = False
        session.on_click(self.ui.recommendButton, self.recommend)
        session.on_click(self.ui.adviceButton, self._ask)
        session.on_click(self.ui.useAdviceButton, self._use)
        self.ui.strategySelector.connect("currentTextChanged(QString)", lambda _text: self._show_options())
        self.ui.fromScratchCheckBox.connect("toggled(bool)", lambda _on: self._show_options())
        self.ui.featuresSelector.connect("currentTextChanged(QString)", lambda _text: self._show_options())
        self.ui.budgetKindSelector.connect("currentTextChanged(QString)", lambda _text: self._show_options())

    def summary(self) -> str:
        parameters = self.session.parameters
        amount = f"{parameters.budget:g} {'%' if parameters.budgetKind == 'percent' else parameters.budgetKind}"
        return f"{amount}, {in_users_language(STRATEGIES[parameters.strategy].label)}"

    def disconnect(self) -> None:
        self._plan = None
        self.ui.adviceLabel.text = ""

    def refresh(self) -> None:
        session = self.session
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.adviceButton, why)
        session.enable(self.ui.recommendButton, why or (None if session.planes else _("Choose a plane first.")))
        session.enable(self.ui.useAdviceButton, None if self._plan is not None else _("Ask for advice first."))
        self.ui.adviceLabel.visible = bool(self.ui.adviceLabel.text)
        self._show_options()

    def _show_options(self) -> None:
        enable = self.session.enable
        strategy = chosen_part(self.ui.strategySelector, STRATEGIES)
        features = chosen_part(self.ui.featuresSelector, FEATURES)
        if strategy is None or features is None:
            return  # no scene is connected yet
        compares = strategy.compares_slices
        enable(
            self.ui.featuresSelector,
            None if compares else _("'{name}' does not compare slices.").format(name=in_users_language(strategy.label)),
        )
        is_autoencoder = compares and features.has_weights
        why_not = None if is_autoencoder else _("Only when slices are compared by autoencoder.")
        enable(self.ui.fromScratchCheckBox, why_not)
        is_small = is_autoencoder and self.ui.fromScratchCheckBox.checked
        enable(self.ui.downloadWeightsCheckBox, _("Not needed from scratch.") if is_small else why_not)
        kind = self.ui.budgetKindSelector.currentText
        self.ui.budgetSpinBox.decimals = 1 if kind == "percent" else 0
        self.ui.budgetSpinBox.maximum = 100.0 if kind == "percent" else 100000.0
        self.ui.budgetSpinBox.minimum = 0.1 if kind == "percent" else 1.0

    def recommend(
        self, strategy: str | None = None, runs: Sequence[str] = (), volumes: Sequence = (), is_next: bool = False
    ) -> None:
        """Recommend slices with the panel's choices.

        Args:
            strategy, runs, volumes: in place of the chosen ones.
            is_next: the budget is for slices in addition to those drawn already.
        """
        session, chosen = self.session, self.session.parameters
        volumes = list(volumes) or session.volumes
        kind = "slices" if is_next and chosen.budgetKind == "percent" else chosen.budgetKind
        amount = {
            "percent": lambda: {"density": chosen.budget / 100.0},
            "slices": lambda: {"more" if is_next else "total": self._slices},
            "minutes": lambda: {"minutes": chosen.budget},
        }[kind]()
        if not session.planes:
            raise BadInputError(_("Choose at least one plane to draw in, under Data."))
        strategy = strategy or chosen.strategy
        if STRATEGIES[strategy].asks_models and not runs:
            runs = [chosen.run] if chosen.run else []
        settings = SelectionSettings(
            budget=Budget(scope=Scope.named(chosen.scope), **amount),
            planes=tuple(Plane.named(name) for name in session.planes),
            strategy=strategy,
            features=chosen.features,
            from_scratch=chosen.fromScratch,
            download_weights=self._asked_for_weights(strategy),
            runs=tuple(runs),
            device=chosen.device,
            whole=chosen.wholeVolume,
        )
        session.start(
            _("Choosing slices ..."),
            lambda **how: self.logic.panel.recommend(volumes, settings, **how),
            lambda worklist: self._recommended(worklist, volumes, is_next),
        )

    def _asked_for_weights(self, strategy: str) -> bool:
        """Whether weights may be downloaded: asked, until the answer is yes, where the choices need any.

        A check box alone is not enough, because it is saved with the scene: somebody else may have checked it.
        """
        chosen = self.session.parameters
        needs = STRATEGIES[strategy].compares_slices and FEATURES[chosen.features].has_weights
        if not needs or chosen.fromScratch or not chosen.downloadWeights:
            return False
        if not self._may_download:
            self._may_download = slicer.util.confirmYesNoDisplay(
                _(
                    "Comparing slices by autoencoder needs the weights of VGG-19: 548 MB from download.pytorch.org, "
                    "once. They are kept in PyTorch's cache on this computer. Download them, unless they are there "
                    "already?"
                ),
                windowTitle=_("SparseAnnotate"),
            )
        return self._may_download

    @property
    def _slices(self) -> int:
        """The budget of percent or slices as a number of slices."""
        chosen = self.session.parameters
        share = self.session.effort.all_slices / 100.0 if chosen.budgetKind == "percent" else 1.0
        return max(1, round(chosen.budget * share))

    def _recommended(self, worklist, volumes: list, is_next: bool) -> None:
        self.session.refresh()
        if worklist:
            self.session.say(_("{count} slices are to be drawn.").format(count=len(worklist)))
            self._on_recommended(volumes[0] if len(volumes) == 1 else None)
        elif is_next:
            self.session.say(_("Nothing more to draw: every slice has been drawn already."))
        else:
            self.session.say(
                _("No more slices: those already drawn use up the budget. Raise the budget, then press Recommend.")
            )

    def _ask(self) -> None:
        chosen, session = self.session.parameters, self.session
        if chosen.budgetKind == "minutes":
            budget = {"minutes": chosen.budget}
        else:
            budget = {"slices": self._slices}
        session.start(
            _("Planning ..."), lambda **how: self.logic.planAnnotation(session.volumes, **budget, **how), self._advised
        )

    def _advised(self, plan) -> None:
        self._plan = plan
        text = _("Draw {slices} {plane} slices").format(slices=plan.slices, plane=plan.plane.value)
        if len(plan.cases) > 1:
            text += _(", {each} in each of {count} volumes").format(each=plan.slices_per_volume, count=len(plan.cases))
        if plan.minutes is not None:
            text += _(", about {time}").format(time=duration(60 * plan.minutes))
        reasons = [f"{item.sentence} ({item.source})" for item in plan.advice]
        self.ui.adviceLabel.text = f"{text}. {plan.advice[0].sentence}" if plan.advice else f"{text}."
        self.ui.adviceLabel.toolTip = "\n".join([*reasons, *plan.unknown])
        self.session.refresh()
        self.session.say(" ".join([_("'Use advice' sets the choices so."), *plan.unknown[:1]]))

    def _use(self) -> None:
        plan, parameters = self._plan, self.session.parameters
        if plan is None:
            raise BadInputError(_("Ask for advice first."))
        for plane, name in PLANE_BOXES.items():
            getattr(self.ui, name).checked = plane == plan.plane.value
        # The kind first: it sets the range of the amount.
        self.ui.budgetKindSelector.setCurrentText("slices")
        self.ui.budgetSpinBox.value = plan.slices
        choose(self.ui.strategySelector, STRATEGIES, plan.strategy)
        if plan.volume_share < 1.0:
            parameters.volumes = [node for node in self.session.volumes if node.GetName() in plan.cases]
            parameters.volume = parameters.volumes[0]
        self.session.refresh()
        self.session.say(_("The choices are as advised. Recommend puts the slices into the worklist."))
