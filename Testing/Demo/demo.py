"""The whole workflow on real MR, from volumes to segmentations, in an embedded MRML scene.

Recommends slices, draws them, fills between them, trains, runs the model, which gives an answer from all of these, and
measures. Instead of a person, the script copies the reference labels onto the recommended slices. Writes scene.mrb,
screenshot.png, slices.png, report.html, summary.json and the trained run to the output folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from SlicerStandIn import embedded_slicer, slice_pictures

PROJECT = Path(__file__).resolve().parents[2]
_DENSITY = 0.1
_MARKER = "made_by_the_sparse_annotate_demo.txt"


def main() -> int:
    options = _options()
    out = Path(options.out).absolute()
    if out.exists() and any(out.iterdir()):
        if not (out / _MARKER).is_file():
            print(f"'{out}' is not empty and not the output of a demo; choose another folder with --out.")
            return 2
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).write_text("This folder is emptied when the demo is run again.\n")
    embedded_slicer.start()
    # The scene and Slicer's classes must exist before modules that use them are imported.
    from SparseAnnotateLib.core import SparseAnnotateError

    try:
        _run(options, out)
    except SparseAnnotateError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="Testing/run demo", description=__doc__)
    parser.add_argument("--data", help="cohort in the Decathlon format; by default the MNI152 template")
    parser.add_argument("--out", default=str(PROJECT / "demo_output"), help="output folder")
    parser.add_argument("--quick", action="store_true", help="coarser and shorter, as a quick check")
    parser.add_argument("--cases", type=int, help="volumes to take from --data (default 20, with --quick 4)")
    parser.add_argument("--iterations", type=int, help="training steps (default 300, with --quick 40)")
    parser.add_argument("--plane", default="coronal", help="axial, coronal (default) or sagittal")
    return parser.parse_args()


def _run(options: argparse.Namespace, out: Path) -> None:
    from Demo import demo_data, demo_report
    from SparseAnnotate import SparseAnnotateLogic
    from SparseAnnotateLib.core.strict_json import write_json

    seconds: dict[str, float] = {}
    whole = time.monotonic()
    with _timed(seconds, "load"):
        if options.data:
            cases = demo_data.decathlon_cases(options.data, options.cases or (4 if options.quick else 20))
        else:
            cases = demo_data.mni152_case(2 if options.quick else 1)
    volumes = [case.volume for case in cases]
    logic = SparseAnnotateLogic()
    logic.cohortFolder = out / "cohort"

    with _timed(seconds, "recommend"):
        worklist = logic.recommendSlices(volumes, options.plane, density=_DENSITY)
    with _timed(seconds, "map of the slices"):
        logic.writeSlicePicture(volumes, out / "slices.png")
    volume_count = "1 volume" if len(cases) == 1 else f"{len(cases)} volumes"
    print(f"{len(worklist)} slices of {volume_count} recommended; the first: {worklist[0].reason}.")
    with _timed(seconds, "draw"):
        _draw_as_the_reference_shows(logic, cases, worklist)
    with _timed(seconds, "fill"):
        fills = [logic.fillBetweenSlices(volume) for volume in volumes]
    iterations = options.iterations or (40 if options.quick else 300)
    with _timed(seconds, "train"):
        run = logic.train(volumes, "demo", {"iterations": iterations}, onProgress=_ProgressLine())
    with _timed(seconds, "run"):
        answers = logic.segment(volumes, run, onProgress=_ProgressLine())
    with _timed(seconds, "the model alone"):
        # From the same prediction, which is kept.
        results = logic.segment(volumes, run, modelOnly=True, onProgress=_ProgressLine())
    reports = [(node.GetName(), logic.fillReport(node)) for node in answers]
    summaries = [f"{name}: {report.summary}" for name, report in reports if report.summary]
    notes = [f"{name}: {text}" for name, report in reports for text in report.warnings]
    for sentence in [*summaries, *notes]:
        print(sentence)
    with _timed(seconds, "measure"):
        rows = []
        for case, fill, result, answer in zip(cases, fills, results, answers, strict=True):
            ledger = logic.ledger(case.volume)
            rows.append(
                {
                    "case": case.name,
                    "slices_drawn": len(ledger.decided),
                    "density": _density(case.volume, ledger),
                    "fill": demo_report.figures(logic.evaluate(fill, case.reference, case.volume)),
                    "model": demo_report.figures(logic.evaluate(result, case.reference, case.volume)),
                    "answer": demo_report.figures(logic.evaluate(answer, case.reference, case.volume)),
                }
            )
    card = logic.cohort().run_folder(run)
    logic.close()

    picture = None
    for node in [*fills, *results, *answers, *(logic.segmentationNode(volume) for volume in volumes)]:
        node.GetDisplayNode().SetVisibility(False)
    with _timed(seconds, "picture and scene"):
        if slice_pictures.can_render():
            picture = out / "screenshot.png"
            shown = {"Reference": cases[0].reference, "Fill": fills[0], "Model": results[0], "Answer": answers[0]}
            demo_report.picture_of(volumes[0], shown, picture)
        else:
            print(f"No picture: this machine has no OpenGL. Install {slice_pictures.GL_PACKAGES}.")
        embedded_slicer.save_scene(out / "scene.mrb")
    seconds["total"] = time.monotonic() - whole
    summary = demo_report.summary_of(rows, seconds, _peak_mib())
    demo_report.print_table(summary)
    facts = {"Data": options.data or "MNI152 T1 template (nilearn)", "Plane": options.plane, "Run": str(card)}
    facts["Sources of the answers"] = " ".join(summaries) or "not measured"
    facts["Notes on the answers"] = " ".join(notes) or "none"
    pictures = {"Slice views": picture, "The slices that were chosen": out / "slices.png"}
    demo_report.write_html(out / "report.html", summary, pictures, facts)
    write_json(out / "summary.json", summary)
    print(f"Everything is in {out}")


def _draw_as_the_reference_shows(logic, cases, worklist) -> None:
    """Copy the reference onto the recommended slices of each volume's segmentation, and mark them as drawn."""
    import numpy as np
    import slicer

    from SparseAnnotateLib import scene
    from SparseAnnotateLib.core import Plane
    from SparseAnnotateLib.core.planes import slice_layer

    for case in cases:
        segmentation = logic.segmentationNode(case.volume)
        values = scene.label_values(case.reference)
        reference_segments = case.reference.GetSegmentation()
        reference = scene.labels_of(case.reference, case.volume, values)
        geometry = scene.geometry_of(case.volume)
        items = [item for item in worklist if item.volumeNode is case.volume]
        drawn = np.zeros_like(reference)
        for item in items:
            layer = slice_layer(Plane.named(item.plane).array_axis(geometry), item.index)
            drawn[layer] = reference[layer]
        for name, value in values.items():
            colour = reference_segments.GetSegment(reference_segments.GetSegmentIdBySegmentName(name)).GetColor()
            segment_id = segmentation.GetSegmentation().AddEmptySegment("", name, colour)
            mask = (drawn == value).astype(np.uint8)
            slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, segment_id, case.volume)
        for item in items:
            logic.markDrawn(item.volumeNode, item.plane, item.index)


def _density(volume, ledger) -> float:
    from SparseAnnotateLib import scene

    planes = {entry.plane for entry in ledger.decided}
    geometry = scene.geometry_of(volume)
    return len(ledger.decided) / sum(plane.slice_count(geometry) for plane in planes)


class _ProgressLine:
    """Prints one line every ten seconds, suitable for a log."""

    def __init__(self):
        self._last = 0.0

    def __call__(self, progress) -> None:
        if time.monotonic() - self._last > 10:
            self._last = time.monotonic()
            left = f", about {progress.seconds_left:.0f} s left" if progress.seconds_left is not None else ""
            figures = "".join(f", {name} {value:.3f}" for name, value in progress.metrics.items())
            print(f"  {progress.fraction:4.0%} {progress.message}{left}{figures}", flush=True)


@contextmanager
def _timed(seconds: dict[str, float], name: str):
    start = time.monotonic()
    yield
    seconds[name] = time.monotonic() - start


def _peak_mib() -> float:
    """Sum of the peak memory of this process and of its largest child process."""
    try:
        import resource
    except ImportError:  # not on Windows
        return 0.0
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(w).ru_maxrss for w in who) / unit


if __name__ == "__main__":
    sys.exit(main())
