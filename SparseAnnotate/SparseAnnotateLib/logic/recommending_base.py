"""What `RecommendingLogic` stands on until it is composed as the other parts are."""

from __future__ import annotations

from .. import scene
from .cohort_export import CohortExport
from .session import Session, Waiting


class SessionLogic:
    """The session and the export, under the names that recommending uses."""

    def __init__(self, session: Session, export: CohortExport):
        self._session, self._exporting = session, export.request
        self.cohort, self.ledger, self.worklist = session.cohort, scene.ledger_of, scene.worklist_of

    @property
    def cohortFolder(self):
        """See `Session.cohort_folder`."""
        return self._session.cohort_folder

    def _do(self, method, prepare, finish, waitForCompletion, onDone, onProgress, name=""):
        """See `Session.do`."""
        return self._session.do(method, prepare, finish, Waiting(waitForCompletion, onDone, onProgress), name)
