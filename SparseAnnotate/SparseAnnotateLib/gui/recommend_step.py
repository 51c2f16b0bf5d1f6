"""Recommend: the budget, the selection settings, and the suggested plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import slicer
from slicer.i18n import tr as _

from ..core import BadInputError, Plane
from ..core.messages import counted
from ..selection import FEATURES, STRATEGIES, Budget, PlanSettings, Scope, SelectionSettings
from .choice_labels import choose, chosen_part
from .data_step import PLANE_BOXES
from .model_menu import ModelMenu
from .panel_choices import ANY_TARGET, budget_units, panel_scopes
from .session import PanelSession, duration
from .step import Step
from .words import in_users_language, translated


class RecommendStep(Step):
    """Adds slices to the worklist.

    Args:
        on_recommended: called when slices were recommended, with the volume if there was only one, otherwise None.
    """

    def __init__(self, session: PanelSession, on_recommended: Callable[[Any], None]):
        super().__init__(session, session.ui.recommendSection)
        self._on_recommended = on_recommended
        self._plan = None
        self._may_download = False
        self._units, self._scopes = budget_units(), panel_scopes()
        self._models = ModelMenu(session, self.ui.modelsButton)
        session.on_click(self.ui.recommendButton, self.recommend)
        session.on_click(self.ui.suggestPlanButton, self._suggest)
        session.on_click(self.ui.usePlanButton, self._use_plan)
        self.ui.fromScratchCheckBox.connect("toggled(bool)", lambda _on: self._show_options())
        for name in ("strategySelector", "featuresSelector", "budgetKindSelector", "scopeSelector"):
            getattr(self.ui, name).connect("currentTextChanged(QString)", lambda _text: self._show_options())

    def summary(self) -> str:
        parameters = self.session.parameters
        budget = parameters.budget
        amount = {
            "percent": f"{budget:g} %",
            "slices": counted(round(budget), _("1 slice"), _("{count} slices")),
            "minutes": counted(round(budget), _("1 minute"), _("{count} minutes")),
        }[parameters.budgetKind]
        return f"{amount}, {in_users_language(STRATEGIES[parameters.strategy].label)}"

    def disconnect(self) -> None:
        self._plan = None
        self.ui.planLabel.text = ""

    def refresh(self) -> None:
        session = self.session
        why = session.why_busy or session.why_no_volume
        session.enable(self.ui.suggestPlanButton, why)
        session.enable(self.ui.recommendButton, why or (None if session.planes else _("Select a plane first.")))
        session.enable(self.ui.usePlanButton, None if self._plan is not None else _("Click 'Suggest plan' first."))
        self.ui.planLabel.visible = bool(self.ui.planLabel.text)
        self._models.refresh()
        self._show_options()

    def _show_options(self) -> None:
        enable = self.session.enable
        strategy = chosen_part(self.ui.strategySelector, STRATEGIES)
        features = chosen_part(self.ui.featuresSelector, FEATURES)
        unit = chosen_part(self.ui.budgetKindSelector, self._units)
        scope = chosen_part(self.ui.scopeSelector, self._scopes)
        if strategy is None or features is None or unit is None or scope is None:
            return  # no scene is connected yet
        for widget in (self.ui.modelsFormLabel, self.ui.modelsButton):
            widget.visible = strategy.asks_models
        enable(
            self.ui.samplesSpinBox,
            None if strategy.asks_models else _("Only for a strategy that uses trained models."),
        )
        why_no_limits = None if scope.name == Scope.COHORT else _("Only for the selection scope 'Whole cohort'.")
        for spin_box in (self.ui.minimumSpinBox, self.ui.maximumSpinBox):
            enable(spin_box, why_no_limits)
        compares = strategy.compares_slices
        enable(
            self.ui.featuresSelector,
            None
            if compares
            else _("The strategy '{name}' does not use slice features.").format(name=in_users_language(strategy.label)),
        )
        is_autoencoder = compares and features.has_weights
        why_not = None if is_autoencoder else _("Only for the slice features 'Autoencoder'.")
        enable(self.ui.fromScratchCheckBox, why_not)
        is_small = is_autoencoder and self.ui.fromScratchCheckBox.checked
        enable(
            self.ui.downloadWeightsCheckBox, _("Not needed for an autoencoder from scratch.") if is_small else why_not
        )
        is_percent = unit.name == "percent"
        self.ui.budgetSpinBox.decimals = 1 if is_percent else 0
        self.ui.budgetSpinBox.maximum = 100.0 if is_percent else 100000.0
        self.ui.budgetSpinBox.minimum = 0.1 if is_percent else 1.0

    def recommend(
        self, strategy: str | None = None, runs: Sequence[str] = (), volumes: Sequence = (), is_next: bool = False
    ) -> None:
        """Recommend slices with the panel's settings.

        Args:
            strategy, runs, volumes: instead of the selected ones.
            is_next: the budget is for slices in addition to those already drawn.
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
            raise BadInputError(_("Select at least one plane to draw in, under Data."))
        strategy = strategy or chosen.strategy
        if STRATEGIES[strategy].asks_models and not runs:
            runs = self._models.chosen()
        minimum, maximum = self._limits
        settings = SelectionSettings(
            budget=Budget(scope=Scope.named(chosen.scope), minimum=minimum, maximum=maximum, **amount),
            planes=tuple(Plane.named(name) for name in session.planes),
            strategy=strategy,
            features=chosen.features,
            from_scratch=chosen.fromScratch,
            download_weights=self._may_download_weights(strategy),
            runs=tuple(runs),
            samples=chosen.samples,
            device=chosen.device,
            whole=chosen.wholeVolume,
        )
        session.start(
            _("Choosing slices ..."),
            lambda **how: self.logic.panel.recommend(volumes, settings, **how),
            lambda worklist: self._recommended(worklist, volumes, is_next),
            shows_all=True,
        )

    def _may_download_weights(self, strategy: str) -> bool:
        """Whether weights may be downloaded; asks the user if the settings need them, until the answer is yes.

        The check box alone is not enough, because it is saved with the scene: another user may have checked it.
        """
        chosen = self.session.parameters
        needs = STRATEGIES[strategy].compares_slices and FEATURES[chosen.features].has_weights
        if not needs or chosen.fromScratch or not chosen.downloadWeights:
            return False
        if not self._may_download:
            self._may_download = slicer.util.confirmYesNoDisplay(
                _(
                    "The slice features 'Autoencoder' need the weights of VGG-19: a one-time download of 548 MB from "
                    "download.pytorch.org, kept in PyTorch's cache on this computer. Download them if they are not "
                    "there yet?"
                ),
                windowTitle=_("SparseAnnotate"),
            )
        return self._may_download

    @property
    def _limits(self) -> tuple[int | None, int | None]:
        """The fewest and the most slices of each volume; None where there is no limit, or none applies."""
        chosen = self.session.parameters
        if chosen.scope != Scope.COHORT:
            return None, None
        return chosen.minimumSlices or None, chosen.maximumSlices or None

    @property
    def _slices(self) -> int:
        """The budget in percent or slices, as a number of slices."""
        chosen = self.session.parameters
        share = self.session.effort.all_slices / 100.0 if chosen.budgetKind == "percent" else 1.0
        return max(1, round(chosen.budget * share))

    def _recommended(self, worklist, volumes: list, is_next: bool) -> None:
        if worklist:
            self.session.say(
                counted(
                    len(worklist),
                    _("The worklist contains 1 slice to draw."),
                    _("The worklist contains {count} slices to draw."),
                )
            )
            self._on_recommended(volumes[0] if len(volumes) == 1 else None)
            return
        self.session.refresh()
        if is_next:
            self.session.say(_("There is nothing left to draw: every slice has been drawn already."))
        else:
            self.session.say(
                _("No more slices: those already drawn use up the budget. Raise the budget, then click Recommend.")
            )

    def _suggest(self) -> None:
        session, chosen = self.session, self.session.parameters
        amount = {"minutes": chosen.budget} if chosen.budgetKind == "minutes" else {"total": self._slices}
        settings = PlanSettings(
            budget=Budget(**amount),
            dimensions=cast(Literal[2, 3], int(chosen.planDimensions)),
            target=None if chosen.planTarget == ANY_TARGET else chosen.planTarget,
        )
        session.start(
            _("Planning ..."),
            lambda **how: self.logic.panel.plan(session.volumes, settings, **how),
            self._suggested,
        )

    def _suggested(self, plan) -> None:
        self._plan = plan
        plane = translated(plan.plane.value)
        if len(plan.cases) > 1:
            template = _("Draw {slices} {plane} slices, {each} in each of {count} volumes.")
            if not plan.is_even:
                template = _("Draw {slices} {plane} slices, at least {each} in each of {count} volumes.")
            text = template.format(slices=plan.slices, plane=plane, each=plan.slices_per_volume, count=len(plan.cases))
        else:
            text = counted(plan.slices, _("Draw 1 {plane} slice."), _("Draw {count} {plane} slices."), plane=plane)
        sentences = [text]
        if plan.minutes is not None:
            sentences.append(_("This will take about {time}.").format(time=duration(60 * plan.minutes)))
        sentences += [in_users_language(item.sentence) for item in plan.advice[:1]]
        self.ui.planLabel.text = " ".join(sentences)
        reasons = [f"{in_users_language(item.sentence)} ({in_users_language(item.source)})" for item in plan.advice]
        self.ui.planLabel.toolTip = "\n".join([*reasons, *map(in_users_language, plan.unknown)])
        self.session.refresh()
        self.session.say(_("'Use plan' fills in these settings."), notes=plan.unknown[:1])

    def _use_plan(self) -> None:
        plan, parameters = self._plan, self.session.parameters
        if plan is None:
            raise BadInputError(_("Click 'Suggest plan' first."))
        for plane, name in PLANE_BOXES.items():
            getattr(self.ui, name).checked = plane == plan.plane.value
        # First the unit: it sets the range of the amount.
        choose(self.ui.budgetKindSelector, self._units, "slices")
        self.ui.budgetSpinBox.value = plan.slices
        choose(self.ui.strategySelector, STRATEGIES, plan.strategy)
        if plan.volume_share < 1.0:
            parameters.volumes = [node for node in self.session.volumes if node.GetName() in plan.cases]
            parameters.volume = parameters.volumes[0]
        self.session.refresh()
        self.session.say(_("The settings follow the plan. Click Recommend to add the slices to the worklist."))
