"""The exceptions of the project: every message is a sentence that a user can act on."""


class SparseAnnotateError(Exception):
    """Base of all errors raised on purpose; caught once, at the edges (panel, logic, command line, worker)."""

    @property
    def message(self) -> str:
        """The text it was raised with; a `Message` can be translated."""
        return self.args[0] if self.args and isinstance(self.args[0], str) else str(self)


class BadInputError(SparseAnnotateError):
    """An image, label map, setting or request that cannot be used."""


class CohortError(SparseAnnotateError):
    """A cohort folder whose files are missing, damaged or contradict each other."""


class FileWriteError(SparseAnnotateError):
    """A file or folder that cannot be written (no permission, read-only or full disk)."""


class BusyError(SparseAnnotateError):
    """Another process is changing the same files."""


class RunError(SparseAnnotateError):
    """A trained run or checkpoint that cannot be used: another version, network or cohort, or damaged."""


class WorkerError(SparseAnnotateError):
    """The worker process could not be started, ended without an answer, or sent an invalid one."""


class CancelledError(SparseAnnotateError):
    """The user cancelled the work; parts finished before are kept."""


class PartlyCancelledError(CancelledError):
    """The same, with a sentence that says what was done before."""
