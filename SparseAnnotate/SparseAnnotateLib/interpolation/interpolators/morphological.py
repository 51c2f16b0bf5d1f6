"""ITK's morphological contour interpolation, which Slicer's own 'Fill between slices' uses, in a separate process.

Source: Zukić et al. 2016, 'N-dimensional Morphological Contour Interpolation' (Insight Journal); Albu et al. 2008,
'A morphology-based approach for interslice interpolation of anatomical slices from volumetric images'.
The filter can take very long on ragged outlines and can crash: in a separate process, with a time limit, this does no
harm.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from ...core import BadInputError, SparseAnnotateError, SparseAnnotation, Watch
from ...core.messages import _
from ...core.registry import Need
from ...core.slicer_python import environment_for, worker_python
from ..confidence import enter_confidence, lower_where_sides_disagree
from ..crossings import contradictions
from ..drawn_stack import FOREGROUND, joined, widened
from ..interpolator import INTERPOLATORS, Fill, InterpolatorEntry, undemanding_method
from ..label_fields import DrawnSlices
from ..morphological_process import NO_FILTER

TIME_LIMIT = 120.0
_ENDING_SECONDS = 5.0
_LIBRARY_FOLDER = Path(__file__).resolve().parents[3]


class MorphologicalInterpolator:
    """Fills with vtkITK's vtkITKMorphologicalContourInterpolator, which comes with Slicer.

    Args:
        time_limit: seconds after which the filter is stopped.
    """

    needs_image = False
    uses_image = False

    def __init__(self, time_limit: float = TIME_LIMIT):
        self.time_limit = time_limit

    def fill(
        self,
        annotation: SparseAnnotation,
        image: np.ndarray | None,
        watch: Watch | None = None,
    ) -> Fill:
        """See `Interpolator.fill`; the image is not used.

        Raises SparseAnnotateError when the filter is not available, crashes, or exceeds the time limit.
        """
        drawn = DrawnSlices.of(annotation)
        main = drawn.main
        labels = annotation.drawn_labels()
        slab = main.moved(labels)
        box = None
        for stack in drawn.stacks:
            for index in stack.indices:
                found = stack.boxes(index).get(FOREGROUND)
                if found is not None:
                    box = joined(box, found if stack is main else (slice(0, main.shape[0]), slice(0, main.shape[1])))
        if box is not None:
            part = (slice(None), *widened(box, 1, main.shape))
            # Along the axis of the slices; with several planes along all axes.
            axis = -1 if drawn.others else 2
            order = np.array([0, *drawn.in_order()], dtype=labels.dtype)
            # Where labels compete for a voxel, the filter decides by their numbers: they are numbered by `in_order`.
            place = np.zeros(int(order.max()) + 1, dtype=labels.dtype)
            place[order] = np.arange(len(order))
            slab[part] = order[self._run(place[slab[part]], axis, watch or Watch())]
        annotation.restore_drawn(labels)
        confidence = np.empty(annotation.geometry.shape, dtype=np.uint8)
        enter_confidence(confidence, drawn.stacks, (slice(None),) * 3)
        if not drawn.others:
            for gap in main.gaps():
                lower_where_sides_disagree(main.moved(confidence)[gap.first : gap.stop], main, gap)
        return Fill(labels, confidence, tuple(c.sentence for c in contradictions(annotation)))

    def _run(self, labels: np.ndarray, axis: int, watch: Watch) -> np.ndarray:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            source, target = Path(folder, "drawn.npy"), Path(folder, "filled.npy")
            np.save(source, labels.astype(np.uint16))
            module = "SparseAnnotateLib.interpolation.morphological_process"
            python = worker_python()
            process = subprocess.Popen(
                [python, "-m", module, str(source), str(target), str(axis)],
                cwd=_LIBRARY_FOLDER,
                env=environment_for(python),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            )
            try:
                self._wait(process, watch)
            finally:
                # Slicer's Python may be a launcher: killing it would leave the filter running. Closing its input
                # ends it.
                if process.stdin is not None:
                    process.stdin.close()
                try:
                    process.wait(_ENDING_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            if process.returncode == NO_FILTER:
                raise BadInputError(
                    _(
                        "ITK's morphological interpolation is not available in this Python: it comes with Slicer "
                        "(vtkITK). Use the {other} method, or run this in Slicer."
                    ).format(other=undemanding_method())
                )
            if not target.is_file():
                raise SparseAnnotateError(
                    _(
                        "ITK's morphological interpolation crashed on these drawn slices. Nothing is lost. Use the "
                        "{other} method instead."
                    ).format(other=undemanding_method())
                )
            filled: np.ndarray = np.load(target, allow_pickle=False)
            return filled.astype(labels.dtype)

    def _wait(self, process: subprocess.Popen[bytes], watch: Watch) -> None:
        begin = time.monotonic()
        while process.poll() is None:
            seconds = time.monotonic() - begin
            if seconds > self.time_limit:
                raise SparseAnnotateError(
                    _(
                        "ITK's morphological interpolation was stopped after {seconds:g} s. Use the {other} method, "
                        "or raise the time limit."
                    ).format(seconds=self.time_limit, other=undemanding_method())
                )
            watch.step(min(seconds / self.time_limit, 1.0), _("filling with ITK's morphological interpolation"))
            time.sleep(0.02)


INTERPOLATORS.add(
    InterpolatorEntry(
        name="morphological",
        label=_("Morphological (ITK)"),
        description=_(
            "The ITK filter that Slicer's 'Fill between slices' uses; fills nothing past the last drawn slices."
        ),
        make=MorphologicalInterpolator,
        needs=frozenset({Need.SLICER}),
        options=("time_limit",),
        order=4,
    )
)
