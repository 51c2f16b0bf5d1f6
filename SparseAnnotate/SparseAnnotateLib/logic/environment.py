"""What can be computed here, and installing what is missing."""

from __future__ import annotations

from pathlib import Path

from ..core import BadInputError
from .session import Session, Waiting

_TORCH_REQUIREMENT = ">=2.8"  # what MONAI 1.6.1 asks for; with less, pip would replace torch by another build
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"


class Environment:
    """The environment of the worker."""

    def __init__(self, session: Session):
        self._session = session

    def report(self, waiting: Waiting):
        """What can be computed here: see `ConsoleLogic.environment`."""
        return self._session.do("environment", {}, lambda report: report, waiting)

    def install_packages(self) -> None:
        """Install what training needs into Slicer's Python: PyTorch by the PyTorch extension, then the rest by pip.

        Asks before it installs anything. Torch comes first, so that nothing brings another build of it.
        """
        import subprocess

        import slicer.packaging

        # A running worker holds the files that are to be replaced, and would not see new ones.
        self._session.jobs.close()
        try:
            if not _is_installed("torch", _TORCH_REQUIREMENT):
                import PyTorchUtils

                logic = PyTorchUtils.PyTorchUtilsLogic()
                if logic.installTorch(askConfirmation=True, torchVersionRequirement=_TORCH_REQUIREMENT) is None:
                    raise BadInputError("PyTorch was not installed, so models cannot be trained.")
            slicer.packaging.pip_ensure(slicer.packaging.load_requirements(_REQUIREMENTS), requester="SparseAnnotate")
        except ImportError as error:
            raise BadInputError(
                "The extension 'PyTorch' is not installed. Install it with the Extensions Manager, restart Slicer, "
                "and try again."
            ) from error
        except (RuntimeError, subprocess.CalledProcessError) as error:
            raise BadInputError(f"The packages that training needs were not installed: {error}") from error


def _is_installed(package: str, requirement: str) -> bool:
    """True when a package is installed in a version that suffices; it is not imported."""
    from importlib import metadata

    from packaging.specifiers import SpecifierSet

    try:
        return SpecifierSet(requirement).contains(metadata.version(package), prereleases=True)
    except metadata.PackageNotFoundError:
        return False
