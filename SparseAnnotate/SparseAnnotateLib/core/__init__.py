"""Data and files: geometry, planes, the ledger of drawn slices, sparse annotation, cohort folders, metrics.

Imports only packages that Slicer bundles, and neither Slicer, Qt nor torch.
"""

from .annotation import SparseAnnotation
from .cohort import Cohort
from .cohort_file import Case
from .device import DEFAULT_DEVICE
from .effort import Effort
from .errors import (
    BadInputError,
    BusyError,
    CancelledError,
    CohortError,
    FileWriteError,
    RunError,
    SparseAnnotateError,
    WorkerError,
)
from .evaluation import CaseFigures, LabelFigures, compare_labels, mean_of_known
from .exchanged import NNUNET_RUN, Exchanged
from .geometry import VolumeGeometry
from .ledger import Ledger, LedgerEntry, SliceState
from .planes import Plane, SliceRef
from .progress import Progress, RemainingTime, Watch
from .provenance import Provenance

__all__ = [
    "DEFAULT_DEVICE",
    "NNUNET_RUN",
    "BadInputError",
    "BusyError",
    "CancelledError",
    "Case",
    "CaseFigures",
    "Cohort",
    "CohortError",
    "Effort",
    "Exchanged",
    "FileWriteError",
    "LabelFigures",
    "Ledger",
    "LedgerEntry",
    "Plane",
    "Progress",
    "Provenance",
    "RemainingTime",
    "RunError",
    "SliceRef",
    "SliceState",
    "SparseAnnotateError",
    "SparseAnnotation",
    "VolumeGeometry",
    "Watch",
    "WorkerError",
    "compare_labels",
    "mean_of_known",
]
