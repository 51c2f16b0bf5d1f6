"""The packages for DICOM, which come with 3D Slicer; other installations add them with `sparse-annotate[dicom]`."""

from __future__ import annotations

from importlib.util import find_spec

from .errors import BadInputError
from .messages import _


def require_dicom_packages(writes_segmentations: bool = False) -> None:
    """Raise BadInputError, with what to install, when pydicom (to write, also highdicom) is missing."""
    wanted = ("pydicom", "highdicom") if writes_segmentations else ("pydicom",)
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise BadInputError(
            _(
                "DICOM files need packages that are not installed: {packages}. Install them with "
                "'pip install \"sparse-annotate[dicom]\"' (they come with 3D Slicer)."
            ).format(packages=", ".join(missing))
        )
