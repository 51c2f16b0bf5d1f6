"""What the module can do in Slicer's scene; `SparseAnnotate.py` offers it as `SparseAnnotateLogic`.

`console.py` has the methods for Slicer's Python console, in camelCase as all of Slicer's API. It is made of one object
for each task, and of `panel`, which has what only the panel needs. Methods that take long block until they are done,
unless they are told `waitForCompletion=False`; then they return at once, and `onDone(result, error)` is called when the
work has ended.
"""

from .console import ConsoleLogic
from .fills import FILL_METHODS
from .slice_starts import STARTS

__all__ = ["FILL_METHODS", "STARTS", "ConsoleLogic"]
