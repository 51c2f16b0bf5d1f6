"""Requests that export data and models to other tools, and import theirs."""

from __future__ import annotations

from dataclasses import dataclass

from ..core import BadInputError, Cohort, Watch
from ..core import Exchanged as Exchanged
from ..core.messages import _
from ..learning.exchange.nnunet import export_nnunet_dataset, import_nnunet_dataset
from ..learning.exchange.nnunet_predictions import import_nnunet_predictions
from .packages import require_packages


@dataclass(frozen=True)
class ExportNnunetRequest:
    """Write the cohort as an nnU-Net v2 raw dataset; undrawn voxels get its ignore label."""

    cohort: str
    folder: str
    state: str | None = None
    cases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportNnunetRequest:
    """Make a cohort from a raw dataset; or, with `predictions` and `run`, import nnU-Net's predictions.

    Attributes:
        folder: the raw dataset.
        predictions: folder of nnU-Net's label files, for an existing cohort. run: name under which they are kept.
        cases: only these.
        state: folder for annotations and ledgers, or for the predictions, instead of the cohort folder.
    """

    cohort: str
    folder: str
    state: str | None = None
    cases: tuple[str, ...] = ()
    predictions: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class ExportBundleRequest:
    """Write a run's 3D model as a MONAI bundle."""

    cohort: str
    run: str
    folder: str
    state: str | None = None


@dataclass(frozen=True)
class ImportBundleRequest:
    """Import a MONAI bundle that SparseAnnotate wrote, as a finished run."""

    cohort: str
    run: str
    folder: str
    state: str | None = None


def export_nnunet(request: ExportNnunetRequest, watch: Watch) -> Exchanged:
    """Write a raw dataset."""
    cohort = _open(request)
    names = [case.name for case in cohort.select(request.cases)]
    return Exchanged(str(export_nnunet_dataset(cohort, request.folder, names, watch)), tuple(names))


def import_nnunet(request: ImportNnunetRequest, watch: Watch) -> Exchanged:
    """Read a raw dataset, or predictions."""
    if (request.predictions is None) != (request.run is None):
        raise BadInputError(
            _("To import predictions, give both their folder and the name of the run under which they are kept.")
        )
    if request.predictions is not None and request.run is not None:
        cohort = _open(request)
        names, sentences = import_nnunet_predictions(
            cohort, request.predictions, request.folder, request.run, watch, request.cases
        )
        return Exchanged(str(cohort.prediction_path(request.run, names[0]).parent), tuple(names), tuple(sentences))
    cohort, warnings = import_nnunet_dataset(request.folder, request.cohort, watch, request.cases, request.state)
    return Exchanged(str(cohort.folder), tuple(case.name for case in cohort.cases), tuple(warnings))


def export_bundle(request: ExportBundleRequest, watch: Watch) -> Exchanged:
    """Write a bundle."""
    del watch
    require_packages()
    from ..learning.exchange.monai_bundle import export_bundle as export

    return Exchanged(str(export(_open(request), request.run, request.folder)))


def import_bundle(request: ImportBundleRequest, watch: Watch) -> Exchanged:
    """Read a bundle."""
    del watch
    require_packages()
    from ..learning.exchange.monai_bundle import import_bundle as import_run

    cohort = _open(request)
    import_run(cohort, request.folder, request.run)
    return Exchanged(str(cohort.run_folder(request.run)))


def _open(request) -> Cohort:
    return Cohort.open(request.cohort, request.state)
