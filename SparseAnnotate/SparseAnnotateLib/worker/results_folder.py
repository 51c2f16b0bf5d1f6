"""A folder with label files made from scans, and beside each a record of what it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core import BadInputError, VolumeGeometry
from ..core.atomic_files import require_writable_folder
from ..core.case_names import file_stem
from ..core.image_fingerprint import KeptFingerprint, content_fingerprint, current_fingerprint_of_channels
from ..core.images import write_image
from ..core.messages import _
from ..core.origin import Origin
from ..core.strict_json import LEFT_OUT_WHEN_EMPTY, read_json, write_json
from ..core.structure_values import names_as_facts
from .prediction_options import PredictionOptions

FORMATS = ("nrrd", "nii.gz", "nii", "mha")
DEFAULT_FORMAT = "nrrd"


@dataclass(frozen=True)
class ResultRecord:
    """What a label file was made from: not every format has room for that in its header.

    Attributes:
        scan: path of the image. image: its fingerprint.
        run: name of the run. run_content: fingerprint of its models. options: that the run was used with.
        labels: label value to name.
        channels: of a scan of several channels, the name and the image of each; `scan` is the first one's.
        channel_order: of a 4D scan, the names of its channels in order.
        replaces: while an older result is being replaced, the fingerprint of its file; otherwise ''.
    """

    scan: str
    image: KeptFingerprint
    run: str
    run_content: str
    options: PredictionOptions
    labels: dict[int, str]
    replaces: str = ""
    channels: dict[str, str] = field(default_factory=dict, metadata=LEFT_OUT_WHEN_EMPTY)
    channel_order: tuple[str, ...] = field(default=(), metadata=LEFT_OUT_WHEN_EMPTY)

    def fingerprint(self, known: KeptFingerprint | None = None) -> KeptFingerprint:
        """That of the scan as it is now; see `current_fingerprint`. Raises BadInputError."""
        return current_fingerprint_of_channels(self.channels or {"": self.scan}, known)

    def origin(self) -> Origin:
        return Origin(image=self.image.mark, run=self.run, run_content=self.run_content)


class ResultsFolder:
    """The results of one kind of run in a folder: <name>.<ending>, and made_from/<name>.<ending>.json beside it.

    Args:
        path: of the folder, which need not exist. ending: one of FORMATS.
    """

    def __init__(self, path: Path, ending: str):
        self.path, self._ending = path, ending

    def labels_path(self, name: str) -> Path:
        return self.path / f"{file_stem(name)}.{self._ending}"

    def uncertainty_path(self, name: str, kind: str) -> Path:
        """`kind`: 'entropy' or 'disagreement'."""
        return self.path / kind / f"{file_stem(name)}.{self._ending}"

    def record_path(self, name: str) -> Path:
        return self.path / "made_from" / f"{file_stem(name)}.{self._ending}.json"

    def require_apart(self, given: Iterable[str], scans: Sequence[Path]) -> None:
        """Raise BadInputError when results could be taken for scans, or scans for results.

        Args:
            given: files, folders and patterns that the scans were found by.
        """
        own = self.path.resolve()
        holding = {
            Path(os.path.expanduser(text)).resolve() for text in given if os.path.isdir(os.path.expanduser(text))
        }
        inside = next((folder for folder in holding if folder == own or folder in own.parents), None)
        if inside is not None:
            raise BadInputError(
                _(
                    "The folder for the results, '{folder}', is in the folder of the scans, '{scans}': the next time "
                    "results could be taken for scans. Choose another folder for the results."
                ).format(folder=self.path, scans=inside)
            )
        for folder in {scan.parent for scan in scans}:
            resolved = folder.resolve()
            if resolved == own or own in resolved.parents:
                scan = next(scan for scan in scans if scan.parent == folder)
                raise BadInputError(
                    _(
                        "The scan '{scan}' is in the folder for the results, '{folder}', so it may be a result itself. "
                        "Choose another folder for the results, or name the scans in another way."
                    ).format(scan=scan, folder=self.path)
                )

    def require_writable(self) -> None:
        """Make the folder. Raises FileWriteError when nothing can be written there."""
        require_writable_folder(self.path)

    def difference(self, name: str, made: ResultRecord) -> str:
        """Why the existing result of this name is not the one that `made` describes, as a clause; '' when it is.

        `made.image` is filled in here. Raises BadInputError when the record is damaged, or the scan cannot be read.
        """
        path = self.record_path(name)
        if not path.is_file():
            return _("it is not known what it was made from")
        known = read_json(path, ResultRecord)
        if known.replaces and known.replaces == content_fingerprint([self.labels_path(name)]):
            return _("it has not been replaced by the new result yet")
        if known.run_content != made.run_content and known.run != made.run:
            return _("it was made by the run '{run}'").format(run=known.run)
        now = replace(made, image=made.fingerprint(known.image))
        change = known.origin().changes(now.origin())
        if not change and known.channel_order != made.channel_order:
            return _("the channels of its scan were named {known}, not {now}").format(
                known=", ".join(known.channel_order) or "-", now=", ".join(made.channel_order) or "-"
            )
        if not change and known.options != made.options:
            return _("it was made with other options")
        return change

    def write(
        self,
        name: str,
        made: ResultRecord,
        labels: np.ndarray,
        geometry: VolumeGeometry,
        uncertainty: Mapping[str, np.ndarray | None],
    ) -> Path:
        """Write a result and its record, so that a record never belongs to another result. Raises FileWriteError.

        Args:
            uncertainty: kind to percent; of those that are None, files of an earlier result are removed.
        """
        facts = made.origin().facts()
        for kind, percent in uncertainty.items():
            if percent is None:
                self.uncertainty_path(name, kind).unlink(missing_ok=True)
            else:
                write_image(self.uncertainty_path(name, kind), percent, geometry, facts=facts)
        path, record = self.labels_path(name), self.record_path(name)
        replaces = content_fingerprint([path]) if path.is_file() else ""
        write_json(record, replace(made, replaces=replaces))
        write_image(path, labels, geometry, facts={**facts, **names_as_facts(made.labels)})
        if replaces:
            write_json(record, made)
        return path


def format_ending(text: str) -> str:
    """The ending of files in a format, without the dot. Raises BadInputError for an unknown format."""
    ending = text.strip().lower().removeprefix(".")
    if ending not in FORMATS:
        raise BadInputError(
            _("Results cannot be written as '{format}'. Choose one of {formats}.").format(
                format=text, formats=", ".join(FORMATS)
            )
        )
    return ending
