"""Data: the volumes of the cohort, the segmentation to draw in, and the planes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from ..core import BadInputError
from ..core.messages import counted
from .channel_rows import ChannelRows
from .cohort_cases import CohortCases
from .session import PanelSession
from .step import Step
from .volume_list import VolumeList
from .words import in_users_language, translated

PLANE_BOXES = {"axial": "axialCheckBox", "coronal": "coronalCheckBox", "sagittal": "sagittalCheckBox"}


class DataStep(Step):
    """The choice of volumes and segmentation. If the grid differs, this is reported, with a button that makes a copy.

    Args:
        on_opened: called with a volume of a cohort folder that was opened and has slices to do.
        on_frame: called at once when a volume shows another frame of a sequence, which is another case.

    Attributes:
        problem: a sentence on why the selected segmentation does not match the volume; None if it does.
    """

    def __init__(self, session: PanelSession, on_opened: Callable[[Any], None], on_frame: Callable[[], None]):
        super().__init__(session, session.ui.dataSection)
        self._on_frame = on_frame
        self._refused = None
        self._known: set[str] = set()
        self._watched: set[str] = set()
        self.problem: str | None = None
        self.list = VolumeList(self.ui.volumeList, self.ui.volumeFilter, self._volumes_changed, self._show_volume)
        self.cases = CohortCases(session, on_opened)
        self.channels = ChannelRows(session)
        self._stop_watching_names = self._stop_watching_frames = lambda: None
        # Also while another module is shown: that may be the Segment Editor.
        self._stop_watching_drawings = lambda: None
        self._warned_of: set[str] = set()
        session.on_click(self.ui.allVolumesButton, lambda: self.list.check_shown(True))
        session.on_click(self.ui.noVolumesButton, lambda: self.list.check_shown(False))
        session.on_click(self.ui.matchGridButton, self._match_to_grid)
        # 'Activated', not 'changed': when a node is removed, the box shows another one without the user's doing.
        self.ui.segmentationSelector.connect("nodeActivated(vtkMRMLNode*)", self._use_segmentation)
        for name in PLANE_BOXES.values():
            getattr(self.ui, name).connect("toggled(bool)", lambda _checked: self._planes_changed())

    def summary(self) -> str:
        volumes = self.session.volumes
        if not volumes:
            return _("no volume")
        name = volumes[0].GetName() if len(volumes) == 1 else _("{count} volumes").format(count=len(volumes))
        return f"{name}, {', '.join(map(translated, self.session.planes)) or _('no plane')}"

    def connect(self) -> None:
        self._refused = None
        parameters = self.session.parameters
        known = self.logic.panel.volumes()
        if parameters.volume is None and known:
            checked = [node for node in parameters.volumes if node in known]
            shown = [node for node in self.logic.panel.volumes_shown() if node in known]
            parameters.volume = (checked or shown or known)[0]
        if parameters.volume is not None and parameters.volume not in parameters.volumes:
            parameters.volumes = [*parameters.volumes, parameters.volume]

    def forget_scene(self) -> None:
        """The scene is being closed: forget its drawings."""
        self._stop_watching_drawings()
        self._stop_watching_drawings, self._warned_of = (lambda: None), set()

    def _hidden_drawing_changed(self, frame: str) -> None:
        """Warn, once for each frame, that a drawing has been changed while another frame was shown."""
        if frame not in self._warned_of:
            self._warned_of.add(frame)
            sentence = _(
                "The drawing of the {frame} was changed in another Segment Editor, but another frame is shown. Undo "
                "this there, unless it was meant for that frame, and select the segmentation of the frame shown."
            ).format(frame=frame)
            self.session.say(sentence, is_error=True)
            if self.session.parameters is None:
                self.session.when_shown(lambda: self.session.say(sentence, is_error=True))

    def disconnect(self) -> None:
        self._watch_names([])
        self._stop_watching_frames()
        self._stop_watching_frames = lambda: None

    def _watch_names(self, volumes: list) -> None:
        self._stop_watching_names()
        self._watched = {node.GetID() for node in volumes}
        self._stop_watching_names = self.logic.panel.watch_names(volumes, self.session.refresh_soon)

    def refresh(self) -> None:
        session = self.session
        volumes = session.all_volumes
        known, self._known = self._known, {node.GetID() for node in volumes}
        watched = [*volumes, *(node for volume in volumes for node in self.logic.channels(volume).values())]
        if self._watched != {node.GetID() for node in watched}:
            self._watch_names(watched)
        self._stop_watching_frames()
        self._stop_watching_frames = self.logic.panel.watch_frames(volumes, self._on_frame)
        self._stop_watching_drawings()
        self._stop_watching_drawings = self.logic.panel.watch_drawings_of_frames(volumes, self._hidden_drawing_changed)
        self._leave_out_channels()
        if session.volume is None and not self._known <= known:
            self.connect()
        self.list.show(volumes, session.volumes, session.volume, [self._channels_in_words(node) for node in volumes])
        session.attempt(self.cases.refresh, keep_message=True)
        session.attempt(self.channels.refresh, keep_message=True)
        for button in (self.ui.allVolumesButton, self.ui.noVolumesButton):
            session.enable(button, None if volumes else _("No volume is loaded."))
        why = session.why_no_volume
        for widget in (self.ui.segmentationSelector, *(getattr(self.ui, name) for name in PLANE_BOXES.values())):
            session.enable(widget, why)
        session.attempt(self._follow_segmentation, keep_message=True)
        self._show_geometry()

    def _leave_out_channels(self) -> None:
        """A checked volume that has become a further channel of another is no case any more."""
        parameters, session = self.session.parameters, self.session
        case_of = {
            node.GetID(): self.logic.panel.channels.case_of(node)
            for node in session.volumes
            if node.GetID() not in self._known
        }
        if any(case_of.values()):
            cases = [case_of.get(node.GetID()) or node for node in session.volumes]
            active = case_of.get(session.volume.GetID()) if session.volume is not None else None
            parameters.volumes = list(dict.fromkeys(cases))
            if active is not None:
                parameters.volume = active

    def _channels_in_words(self, volume) -> str:
        """The channels of a volume in a few words, '' for a case by itself."""
        text = " + ".join(self.logic.channels(volume))
        missing = self.logic.panel.channels.missing(volume)
        if missing:
            text = _("{channels}, without {missing}").format(channels=text, missing=", ".join(missing))
        return text

    def _follow_segmentation(self) -> None:
        """Select the segmentation of the volume, or the one that was refused."""
        shown = self._refused if self._refused is not None and self._refused.GetScene() is not None else None
        if shown is None and self.session.volume is not None:
            shown = self.logic.drawnIn(self.session.volume)
        selector = self.ui.segmentationSelector
        if selector.currentNode() is not shown:
            was = selector.blockSignals(True)
            selector.setCurrentNode(shown)
            selector.blockSignals(was)

    def _show_geometry(self) -> None:
        volume, segmentation = self.session.volume, self.ui.segmentationSelector.currentNode()
        self.problem = None
        if volume is not None and segmentation is not None:
            self.problem = self.logic.panel.geometry_problem(volume, segmentation)
        self.ui.geometryFrame.visible = self.problem is not None
        self.ui.geometryLabel.text = in_users_language(self.problem or "")

    def _use_segmentation(self, node) -> None:
        volume = self.session.volume
        self._refused = None
        if node is not None and volume is not None and self.logic.drawnIn(volume) is not node:
            self.session.attempt(lambda: self._draw_in(volume, node))
        self.session.refresh()

    def _draw_in(self, volume, node) -> None:
        try:
            self.logic.useSegmentation(volume, node)
        except BadInputError:
            if self.logic.panel.geometry_problem(volume, node) is None:
                raise
            # It stays selected; the problem and the button that makes a copy are shown beside it.
            self._refused = node

    def _match_to_grid(self) -> None:
        volume, node = self.session.volume, self.ui.segmentationSelector.currentNode()
        if volume is None or node is None:
            raise BadInputError(_("Choose a volume and a segmentation first."))
        if self.logic.panel.geometry_problem(volume, node) is None:
            raise BadInputError(_("'{name}' already matches the volume grid.").format(name=node.GetName()))
        copy = self.logic.mendGeometry(volume, node)
        self.logic.useSegmentation(volume, copy)
        self._refused = None
        self.session.refresh()
        text = _("'{copy}' is a copy on the voxel grid of '{volume}'; '{name}' is unchanged.").format(
            copy=copy.GetName(), volume=volume.GetName(), name=node.GetName()
        )
        marked = self.logic.panel.marked_slice_count(node)
        left_out, notes = marked - self.logic.panel.marked_slice_count(copy), []
        if left_out:
            note = counted(
                left_out,
                _("{count} of {all} marked slices does not match a slice of this volume; its mark was not copied."),
                _("{count} of {all} marked slices do not match slices of this volume; their marks were not copied."),
                all=marked,
            )
            notes.append(note)
        if self.logic.panel.has_corrections(node) and not self.logic.panel.has_corrections(copy):
            notes.append(_("Its corrections were not copied, because they are of other voxels."))
        self.session.say(text, notes=notes)

    def _volumes_changed(self) -> None:
        parameters, chosen, checked = self.session.parameters, self.list.chosen, self.list.checked
        if parameters is None:
            return
        if chosen is not self.session.volume and chosen is not None:
            self._refused = None
            if chosen not in checked:
                checked.append(chosen)
        elif chosen not in checked:
            chosen = checked[0] if checked else None
        parameters.volumes = checked
        parameters.volume = chosen
        self.session.refresh()

    def _show_volume(self) -> None:
        # A click on the active volume shows it in the slice views again.
        if self.session.volume is not None:
            self.session.attempt(lambda: self.logic.panel.show_volume(self.session.volume), keep_message=True)

    def _planes_changed(self) -> None:
        if self.session.parameters is not None:
            self.session.refresh()
