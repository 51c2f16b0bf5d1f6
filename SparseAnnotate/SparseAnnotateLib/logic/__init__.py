"""What the module can do in Slicer's scene; `SparseAnnotate.py` offers it as `SparseAnnotateLogic`.

`console.py` has the methods for Slicer's Python console, in camelCase as in all of Slicer's API. It is composed of one
object for each task, and of `panel`, for functions that only the panel needs. Methods that take long block until they
are done; with `waitForCompletion=False` they return immediately, and `onDone(result, error)` is called when the work
has ended.
"""

from .console import ConsoleLogic
from .fills import FILL_METHODS
from .slice_starts import STARTS

__all__ = ["FILL_METHODS", "STARTS", "ConsoleLogic"]
