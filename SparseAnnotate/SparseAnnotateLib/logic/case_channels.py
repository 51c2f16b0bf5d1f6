"""The channels of cases: which volumes they are, what they are called, and which one is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import scene
from ..client import Steps
from ..core import BadInputError, Cohort, Progress
from ..core.channels import check_channels, volume_of_channel
from ..core.cohort_file import COHORT_FILE
from ..core.image_intake import free_path, remove_imported
from ..core.messages import _, counted
from ..core.slab_writing import written_in_slabs
from .session import Session, Waiting


class CaseChannels:
    """Several volumes of the scene as one case."""

    def __init__(self, session: Session):
        self._session = session

    def set(self, volume_node, channels: Mapping[str, Any], names: Sequence[str] = ()) -> list[str]:
        """See `ConsoleLogic.setChannels`."""
        wanted = check_channels(tuple(names or channels))
        if wanted and self._session.has_cohort:
            cohort = self._session.cohort()
            if cohort.cases:
                cohort.use_channels(wanted)
        drawn_on = [node for node in channels.values() if node is not volume_node and _is_drawn_on(node)]
        notes = scene.set_channels(volume_node, channels, names)
        for node in drawn_on:
            notes.append(
                _(
                    "Slices were drawn on '{volume}' itself. They do not count while it is a channel of '{first}'."
                ).format(volume=node.GetName(), first=volume_node.GetName())
            )
        return notes

    def set_rows(self, volume_node, rows: Sequence[tuple[str, Any]]) -> list[str]:
        """`set` for names with volumes in their order, None for channels that the case lacks. Raises BadInputError."""
        names = check_channels([name for name, _node in rows])
        nodes = [node for _name, node in rows]
        return self.set(volume_node, {n: node for n, node in zip(names, nodes, strict=True) if node is not None}, names)

    def has_cases(self) -> bool:
        """Whether the cohort folder has cases, all of which have the same channels."""
        return self._session.has_cohort and bool(self._session.cohort().cases)

    def why_no_more(self, volume_node) -> str | None:
        """Why no channel can be added to a case; None if one can."""
        if volume_node is not None and self._session.has_cohort:
            cohort = self._session.cohort()
            if not (cohort.folder / COHORT_FILE).is_file():
                return _("The folder is in the Decathlon format, which is only read.")
            if any(case.is_4d for case in cohort.cases):
                return _("A case of the cohort folder is one file with all channels (4D), so none can be added.")
        return None

    def add_rows(
        self,
        volume_node,
        rows: Sequence[tuple[str, Any]],
        first: str,
        waitForCompletion: bool = False,
        onDone: Callable | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ):
        """`add` for names with volumes. Raises BadInputError."""
        names = check_channels([name for name, _node in rows])
        nodes = dict(zip(names, (node for _name, node in rows), strict=True))
        return self.add(volume_node, nodes, first, Waiting(waitForCompletion, onDone, onProgress))

    def add(self, volume_node, channels: Mapping[str, Any], first: str, waiting: Waiting):
        """See `ConsoleLogic.addChannels`."""
        return self._session.do(None, self._adding(volume_node, dict(channels), first), lambda notes: notes, waiting)

    def _adding(self, volume_node, channels: dict[str, Any], first: str) -> Steps:
        given = dict(zip(check_channels(tuple(channels)), channels.values(), strict=True))
        before = {**dict.fromkeys(scene.channel_names(volume_node)), **self.of(volume_node)}
        twice = next((name for name in given if before.get(name) is not None), None)
        if twice is not None or not given:
            raise BadInputError(
                _("'{volume}' already has the channel '{channel}'.").format(volume=volume_node.GetName(), channel=twice)
                if given
                else _("No channel is given to add.")
            )
        opened = scene.opened_case(volume_node)
        scene.require_folder_of(volume_node, self._session.cohort_folder)
        cohort = self._session.cohort() if self._session.has_cohort else None
        if opened is not None and cohort is None:
            raise BadInputError(
                _("'{volume}' was opened from '{folder}', where there is no cohort any more.").format(
                    volume=volume_node.GetName(), folder=opened.folder
                )
            )
        own = tuple(before)
        if cohort is None or not cohort.cases:
            names = check_channels([*(own or (first,)), *(name for name in given if name not in own)])
        else:
            first = first or ("" if cohort.channels else next(iter(own), ""))
            known = cohort.channels_with(next(iter(given)), first)
            names = check_channels([*known, *(name for name in given if name not in known)])
        if opened is not None and cohort is not None:
            scene.require_same_image(volume_node, opened, cohort)
        yield Progress(0.0, _("adding channels to '{volume}'").format(volume=volume_node.GetName()))
        nodes = {name: node for name, node in before.items() if node is not None and name in names}
        had = [name for name in nodes if name != names[0]]
        nodes = {names[0]: volume_node, **nodes, **given}
        on_grid, notes = scene.channels_on_grid(volume_node, nodes, names)
        if cohort is not None and cohort.cases:
            new = [name for name in given if name not in cohort.channels]
            by_name = dict(zip(names[1:], on_grid, strict=True))
            yield from self._adding_to_folder(volume_node, cohort, by_name, given, first)
            if new:
                one = _("The cohort folder has the further channel {names} now; its other cases lack it.")
                many = _("The cohort folder has the further channels {names} now; its other cases lack them.")
                notes.append(counted(len(new), one, many, names=", ".join(new)))
        scene.store_channels(volume_node, names, on_grid)
        if cohort is not None:
            scene.note_added_channels(volume_node, cohort, had)
        return notes

    def _adding_to_folder(
        self, volume_node, cohort: Cohort, on_grid: Mapping[str, Any], given: Mapping[str, Any], first: str
    ) -> Iterator[None]:
        """Add the channels `given` to the cohort, and to the case of an opened volume; all or none.

        Args:
            on_grid: the volumes of the further channels, by name; those that were made of others are removed from the
                scene when nothing was added.
        """
        opened = scene.opened_case(volume_node)
        case = opened.case if opened is not None else ""
        images: dict[str, dict[str, Path]] = {name: {} for name in given}
        paths: dict[str, Path] = {}
        is_added = False

        def check() -> None:
            if opened is not None:  # the files, or the volume, may have changed while channels were written
                scene.require_same_image(volume_node, opened, cohort)

        try:
            with cohort.adding_channel(", ".join(given)):
                kinds = {name: scene.modality_of(node) for name, node in given.items()}
                kinds = cohort.require_modalities(case or scene.case_of(volume_node), kinds)
                for name in given if case else ():
                    path = free_path(cohort.path_for_channel(case, name), lambda place: place.exists())
                    paths[name] = images[name][case] = path
                    image = scene.image_on_grid(volume_node, on_grid[name])
                    for _share in written_in_slabs(path, image, cohort.geometry(case)):
                        yield None
                # Of a channel that is there what the cohort knows stays, and what it does not know stays unknown.
                new = {name: kind for name, kind in kinds.items() if name not in cohort.channels}
                cohort.add_channels(images, first, new, check)
            is_added = True
        finally:
            if not is_added:
                used = cohort.channel_paths(case).values() if case else ()
                remove_imported([path for path in paths.values() if path not in used], cohort.folder)
                scene.remove_resampled([on_grid[name] for name in given], list(given.values()))

    def of(self, volume_node) -> dict[str, Any]:
        """See `ConsoleLogic.channels`."""
        names = scene.channel_names(volume_node)
        return {names[0]: volume_node, **scene.further_channels(volume_node)} if names else {}

    def names(self, volume_node) -> tuple[str, ...]:
        """The names of a case's channels in their order, also of those that it lacks; none for a case by itself."""
        return scene.channel_names(volume_node)

    def missing(self, volume_node) -> list[str]:
        """The names of the channels that a case lacks."""
        return scene.missing_channels_of(volume_node)

    def case_of(self, volume_node):
        """The volume of which this one is a further channel; None if it is not one."""
        return scene.case_of_channel(volume_node)

    def modality(self, volume_node) -> str:
        """What a volume is, such as CT; of a case in the cohort folder, as that says. '' when it is not known."""
        if self._session.has_cohort:
            cohort = self._session.cohort()
            if scene.is_exported(cohort, scene.case_of_channel(volume_node) or volume_node):
                return cohort.modality(self._channel_of(volume_node))
        return scene.modality_of(volume_node)

    def set_modality(self, volume_node, modality: str) -> None:
        """See `ConsoleLogic.setModality`."""
        scene.require_folder_of(volume_node, self._session.cohort_folder)
        cohort = self._session.cohort() if self._session.has_cohort else None
        if cohort is not None and cohort.cases:
            cohort.use_modalities({self._channel_of(volume_node): scene.modality_of(volume_node, modality)})
        scene.store_modality(volume_node, modality)

    def _channel_of(self, volume_node) -> str:
        """The name of the channel that a volume is; '' where it is a case by itself."""
        of_case = self.of(scene.case_of_channel(volume_node) or volume_node)
        return next((name for name, node in of_case.items() if node is volume_node), "")

    def why_fixed(self, volume_node) -> str | None:
        """Why the channels of a volume cannot be changed; None if they can."""
        if scene.opened_case(volume_node) is None:
            return None
        return _("'{volume}' was opened from a cohort folder, which has its channels.").format(
            volume=volume_node.GetName()
        )

    def names_of_cohort(self) -> tuple[str, ...]:
        """The names that all cases of the cohort folder have; none without cases or names."""
        if not self._session.has_cohort:
            return ()
        cohort = self._session.cohort()
        return cohort.channels if cohort.cases else ()

    def choices(self, volume_node) -> list:
        """The volumes that can be further channels of a volume."""
        taken = scene.cases_of_channels()
        return [
            node
            for node in scene.volumes_of_scene()
            if node is not volume_node
            and not scene.is_confidence(node)
            and not scene.channel_names(node)
            and scene.opened_case(node) is None
            and taken.get(node.GetID()) in (None, volume_node)
        ]

    def guess(self, volume_node, own_channel: str, channel: str, choices: Sequence):
        """The volume whose name says that it is this channel of the case; None where none does, or several do."""
        names = [node.GetName() for node in choices]
        found = volume_of_channel(volume_node.GetName(), own_channel, channel, names)
        return choices[names.index(found)] if found is not None else None

    def shown(self, volume_node) -> tuple[str, str]:
        """The name of the channel that the slice views show of a case, and of the one faded over it, or ''."""
        return scene.shown_channel(volume_node)

    def show(self, volume_node, name: str, faded: str = "") -> None:
        """Show a channel of a case in the slice views, perhaps with another one faded over it."""
        scene.show_channel(volume_node, name, faded)


def _is_drawn_on(node) -> bool:
    segmentation = scene.annotated_segmentation(node) if node is not None else None
    return segmentation is not None and scene.marked_slice_count(segmentation) > 0
