"""What the module can do in Slicer's scene, from the console and the panel; `SparseAnnotate.py` puts it together.

Methods are camelCase, as in all of Slicer's API. Those that take long block until they are done, unless they are told
`waitForCompletion=False`; then they return at once, and `onDone(result, error)` is called when the work has ended.
"""

from .drawing import STARTS, DrawingLogic
from .filling import FillingLogic
from .installing import InstallingLogic
from .measuring import MeasuringLogic
from .modelling import ModellingLogic
from .recommending import RecommendingLogic
from .viewing import ViewingLogic

__all__ = [
    "STARTS",
    "DrawingLogic",
    "FillingLogic",
    "InstallingLogic",
    "MeasuringLogic",
    "ModellingLogic",
    "RecommendingLogic",
    "ViewingLogic",
]
