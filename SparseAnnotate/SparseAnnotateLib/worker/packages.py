"""The packages that do not come with Slicer: which are installed, and the error when one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from ..core import BadInputError
from ..core.messages import _

LEARNING_PACKAGES = ("torch", "monai", "safetensors")


def installed_version(package: str) -> str | None:
    """Version of a package, without importing it; None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require_packages(packages: Sequence[str] = LEARNING_PACKAGES, purpose: str | None = None) -> None:
    """Raise BadInputError, with what to install, when a package is missing.

    Args:
        packages: names of the packages.
        purpose: what they are needed for, as in 'needed for training and running models' (the default).
    """
    missing = [name for name in packages if installed_version(name) is None]
    if missing:
        raise BadInputError(
            _(
                "These packages are needed for {purpose} and are not installed: {packages}. In Slicer, press 'Install "
                "packages' in the SparseAnnotate panel. Elsewhere, run 'pip install {arguments}'."
            ).format(
                purpose=purpose or _("training and running models"),
                packages=", ".join(missing),
                arguments=" ".join(missing),
            )
        )
