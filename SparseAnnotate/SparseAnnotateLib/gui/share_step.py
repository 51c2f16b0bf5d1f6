"""Share: data and models for nnU-Net and MONAI, what these have made, and segmentations as DICOM SEG."""

from __future__ import annotations

import ctk
from slicer.i18n import tr as _

from ..core import NNUNET_RUN, BadInputError
from ..core.messages import counted, listed
from .choice_labels import choose, chosen_part, show_labels
from .cohort_cases import CohortCases
from .panel_choices import BUNDLE, DATASET, DICOM, PREDICTIONS, runs_to_share, share_formats
from .result_step import ResultStep
from .session import PanelSession
from .step import Step
from .words import in_users_language

_NOTES_AT_MOST = 3
_FOLDERS = {
    "shareFolder": "shareFolderSelector",
    "sharePredictions": "sharePredictionsSelector",
    "shareCohort": "shareCohortSelector",
}
_ROWS = {
    ("sharePredictionsFormLabel", "sharePredictionsSelector"): (PREDICTIONS,),
    ("shareCohortFormLabel", "shareCohortSelector"): (DATASET,),
    ("shareRunFormLabel", "shareRunSelector"): (BUNDLE,),
    ("shareSegmentationFormLabel", "shareSegmentationSelector"): (DICOM,),
    ("shareNameFormLabel", "shareNameLineEdit"): (PREDICTIONS, BUNDLE),
}
"""The rows of the form that only some formats need, and these."""


class ShareStep(Step):
    """Exports and imports; only the rows that the selected format needs are shown.

    Args:
        cases: shows the cohort that an imported dataset becomes. result: shows imported predictions.
    """

    def __init__(self, session: PanelSession, cases: CohortCases, result: ResultStep):
        super().__init__(session, session.ui.shareSection)
        ui = self.ui
        self._cases, self._result = cases, result
        self._formats, self._runs = share_formats(), runs_to_share([])
        self._segmentations: list = []
        for field, name in _FOLDERS.items():
            selector = getattr(ui, name)
            selector.filters = ctk.ctkPathLineEdit.Dirs
            selector.connect("currentPathChanged(QString)", lambda path, field=field: self._folder_chosen(field, path))
        ui.shareFormatSelector.connect("currentTextChanged(QString)", lambda _text: self.refresh())
        ui.shareRunSelector.connect("currentTextChanged(QString)", lambda _text: self._run_chosen())
        session.on_click(ui.shareExportButton, self._export)
        session.on_click(ui.shareImportButton, self._import)

    def connect(self) -> None:
        # Not bound to the widgets: a parameter of type Path would show an empty folder as '.'.
        for field, name in _FOLDERS.items():
            getattr(self.ui, name).currentPath = getattr(self.session.parameters, field)

    def refresh(self) -> None:
        session, ui = self.session, self.ui
        selected = chosen_part(ui.shareFormatSelector, self._formats)
        if session.parameters is None or selected is None:
            return  # no scene is connected yet
        for names, formats in _ROWS.items():
            for name in names:
                getattr(ui, name).visible = selected.name in formats
        ui.shareNameLineEdit.placeholderText = (
            NNUNET_RUN if selected.name == PREDICTIONS else _("as the folder is named")
        )
        self._show_runs()
        self._show_segmentations()
        busy, no_volume = session.why_busy, session.why_no_volume
        why_no_export = {
            DATASET: no_volume or session.why_nothing_drawn(session.volumes),
            PREDICTIONS: _("Predictions of nnU-Net are only imported."),
            BUNDLE: None if self._runs else _("First train a model."),
            DICOM: self._why_no_dicom(),
        }[selected.name]
        why_no_import = {
            PREDICTIONS: no_volume,
            DICOM: _("DICOM SEG files are only exported here. 3D Slicer's DICOM module loads them."),
        }.get(selected.name)
        session.enable(ui.shareExportButton, busy or why_no_export)
        session.enable(ui.shareImportButton, busy or why_no_import)

    def _show_runs(self) -> None:
        """Offer the finished runs; the one that was chosen, or else the one selected in the table, is selected."""
        session, selector = self.session, self.ui.shareRunSelector
        names = self._usable_runs
        was = selector.blockSignals(True)
        if list(self._runs) != names:
            self._runs = runs_to_share(names)
            selector.clear()
            selector.addItems(names)
            show_labels(selector, self._runs)
        parameters = session.parameters
        wanted = next((run for run in (parameters.shareRun, parameters.run) if run in self._runs), None)
        if wanted is not None:
            choose(selector, self._runs, wanted)
        selector.blockSignals(was)
        session.enable(selector, None if names else _("First train a model."))

    def _show_segmentations(self) -> None:
        """Offer the segmentations of the active volume; the selected one stays."""
        selector, before = self.ui.shareSegmentationSelector, self._segmentation
        volume = self.session.volume
        nodes = self.logic.panel.dicom.segmentations(volume) if volume is not None else []
        texts = [node.GetName() for node in nodes]
        if nodes != self._segmentations or texts != [selector.itemText(place) for place in range(selector.count)]:
            selector.clear()
            selector.addItems(texts)
            self._segmentations = nodes
            if before in nodes:
                selector.setCurrentIndex(nodes.index(before))
        self.session.enable(selector, None if nodes else self._why_no_dicom())

    @property
    def _segmentation(self):
        place = self.ui.shareSegmentationSelector.currentIndex
        return self._segmentations[place] if 0 <= place < len(self._segmentations) else None

    def _why_no_dicom(self) -> str | None:
        volume = self.session.volume
        if volume is None:
            return self.session.why_no_volume
        why = self.logic.panel.dicom.why_not(volume)
        return why or (None if self._segmentations else _("First draw a structure, or fill or segment the volume."))

    @property
    def _usable_runs(self) -> list[str]:
        return [run.name for run in self.session.runs if run.is_finished and not run.problem]

    def _run_chosen(self) -> None:
        run = chosen_part(self.ui.shareRunSelector, self._runs)
        if self.session.parameters is not None and run is not None:
            self.session.parameters.shareRun = run.name

    def _folder_chosen(self, field: str, path: str) -> None:
        if self.session.parameters is not None:
            setattr(self.session.parameters, field, path)

    def _folder(self, field: str, missing: str) -> str:
        """A folder that was chosen. Raises BadInputError, with `missing`, if there is none."""
        path = getattr(self.ui, _FOLDERS[field]).currentPath.strip()
        if not path:
            raise BadInputError(missing)
        return path

    # --- export ---------------------------------------------------------------------------------------------------

    def _export(self) -> None:
        session, selected = self.session, self.session.parameters.shareFormat
        if selected == PREDICTIONS:
            raise BadInputError(_("Predictions of nnU-Net are only imported. Select another format to export."))
        if selected == DATASET:
            why_not = session.why_no_volume or session.why_nothing_drawn(session.volumes)
            if why_not is not None:
                raise BadInputError(why_not)
            folder = self._folder(
                "shareFolder", _("Select a folder for the dataset first, with a name like Dataset501_Liver.")
            )
            session.start(
                _("Writing the dataset ..."),
                lambda **how: self.logic.exportNnunet(session.volumes, folder, **how),
                self._exported,
            )
            return
        if selected == DICOM:
            self._export_dicom()
            return
        run = chosen_part(self.ui.shareRunSelector, self._runs)
        if run is None:
            raise BadInputError(_("First train a model."))
        session.invalidate_cache()
        if run.name not in self._usable_runs:
            session.refresh()
            raise BadInputError(
                _(
                    "The run '{run}' is not in the cohort folder any more, or cannot be used. Select another one."
                ).format(run=run.name)
            )
        folder = self._folder("shareFolder", _("Select a folder for the bundle first."))
        session.start(
            _("Writing the bundle ..."), lambda **how: self.logic.exportBundle(run.name, folder, **how), self._exported
        )

    def _export_dicom(self) -> None:
        self._show_segmentations()
        volume, node, why = self.session.volume, self._segmentation, self._why_no_dicom()
        if why is not None or node is None:
            raise BadInputError(why or _("Select the segmentation to write first."))
        folder = self._folder("shareFolder", _("Select a folder for the DICOM file first."))
        self.session.start(
            _("Writing the DICOM file ..."),
            lambda **how: self.logic.panel.dicom.export_from_panel(node, volume, folder, **how),
            self._exported,
        )

    def _exported(self, found) -> None:
        cases = counted(len(found.cases), _("1 volume"), _("{count} volumes")) if found.cases else ""
        text = _("Written: '{path}' ({cases}).") if cases else _("Written: '{path}'.")
        self.session.say(text.format(path=found.path, cases=cases), notes=found.warnings[:_NOTES_AT_MOST])

    # --- import ---------------------------------------------------------------------------------------------------

    def _import(self) -> None:
        session, selected = self.session, self.session.parameters.shareFormat
        name = session.parameters.shareName.strip()
        if selected == DICOM:
            raise BadInputError(_("DICOM SEG files are only exported here. 3D Slicer's DICOM module loads them."))
        if selected == BUNDLE:
            folder = self._folder("shareFolder", _("Select the folder of the bundle first."))
            session.start(
                _("Reading the bundle ..."),
                lambda **how: self.logic.importBundle(folder, name, **how),
                self._bundle_imported,
            )
            return
        folder = self._folder("shareFolder", _("Select the folder of the nnU-Net dataset first."))
        if selected == DATASET:
            cohort = self._folder("shareCohort", _("Select a new folder for the cohort first."))
            session.start(
                _("Reading the dataset ..."),
                lambda **how: self.logic.importNnunet(folder, cohort, **how),
                self._dataset_imported,
            )
            return
        if session.why_no_volume is not None:
            raise BadInputError(session.why_no_volume)
        predictions = self._folder("sharePredictions", _("Select the folder with the predictions first."))
        session.start(
            _("Reading the predictions ..."),
            lambda **how: self.logic.importNnunetPredictions(
                session.volumes, folder, predictions, name or NNUNET_RUN, **how
            ),
            self._predictions_imported,
        )

    def _bundle_imported(self, run: str) -> None:
        self.session.parameters.run = run
        self.session.refresh()
        self.session.say(_("'{run}' was imported. Click Run to segment a volume with it.").format(run=run))

    def _dataset_imported(self, found) -> None:
        def opened(nodes: list) -> None:
            self._cases.show_opened(nodes)
            done = counted(
                len(found.cases),
                _("The dataset with 1 volume is now the cohort '{path}'."),
                _("The dataset with {count} volumes is now the cohort '{path}'."),
                path=found.path,
            )
            notes = [*found.warnings, *self.logic.openingNotes()]
            self.session.say(done, notes=notes[:_NOTES_AT_MOST])

        self.session.start(_("Opening the cohort"), lambda **how: self.logic.openCohort(found.path, **how), opened)

    def _predictions_imported(self, nodes: list) -> None:
        self._result.show(*nodes)
        names = in_users_language(listed([f"'{node.GetName()}'" for node in nodes], 3))
        made = counted(len(nodes), _("New segmentation: {names}."), _("New segmentations: {names}."), names=names)
        notes = self.logic.fillReport(nodes[0]).warnings if nodes else ()
        self.session.say(made, notes=notes[:_NOTES_AT_MOST])
