"""Checking packages and devices, and installing missing packages."""

from __future__ import annotations

from pathlib import Path

from ..core import BadInputError
from ..core.messages import _
from .session import Session, Waiting

_TORCH_REQUIREMENT = ">=2.8"  # required by MONAI 1.6.1; with an older one, pip would replace torch by another build
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


class Environment:
    """The environment of the worker."""

    def __init__(self, session: Session):
        self._session = session

    def report(self, waiting: Waiting):
        """Packages and devices: see `ConsoleLogic.environment`."""
        return self._session.do("environment", {}, lambda report: report, waiting)

    def install_packages(self) -> None:
        """Install what training needs into Slicer's Python: PyTorch by the PyTorch extension, then the rest by pip.

        Asks before it installs anything. Torch comes first, so that no other package installs another build of it.
        """
        import subprocess

        import slicer.packaging

        # A running worker keeps the files open that are to be replaced, and would not import new ones.
        self._session.jobs.close()
        try:
            if not _is_installed("torch", _TORCH_REQUIREMENT):
                import PyTorchUtils

                logic = PyTorchUtils.PyTorchUtilsLogic()
                if logic.installTorch(askConfirmation=True, torchVersionRequirement=_TORCH_REQUIREMENT) is None:
                    raise BadInputError(_("PyTorch was not installed, so models cannot be trained."))
            slicer.packaging.pip_ensure(slicer.packaging.load_requirements(_REQUIREMENTS), requester="SparseAnnotate")
        except ImportError as error:
            raise BadInputError(
                _(
                    "The extension 'PyTorch' is not installed. Install it with the Extensions Manager, restart "
                    "Slicer, and try again."
                )
            ) from error
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise BadInputError(
                _("The packages for training were not installed: {error}").format(error=error)
            ) from error


def _is_installed(package: str, requirement: str) -> bool:
    """True if a suitable version of a package is installed; does not import it."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    try:
        return SpecifierSet(requirement).contains(metadata.version(package), prereleases=True)
    except metadata.PackageNotFoundError:
        return False
