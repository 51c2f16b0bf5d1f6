"""The packages that do not come with Slicer: which are there, and what to say when one is missing."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata

from ..core import BadInputError

LEARNING_PACKAGES = ("torch", "monai", "safetensors")


def installed_version(package: str) -> str | None:
    """Version of an installed package, which is not imported; None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def require_packages(packages: Sequence[str] = LEARNING_PACKAGES, what: str = "Training and running models") -> None:
    """Raise BadInputError, saying what to install, when a package that `what` needs is missing."""
    missing = [name for name in packages if installed_version(name) is None]
    if missing:
        raise BadInputError(
            f"{what} need packages that are not installed: {', '.join(missing)}. "
            "In Slicer, press 'Install packages' in the SparseAnnotate panel; elsewhere, 'pip install "
            f"{' '.join(missing)}'."
        )
