"""The output of the demo: the table, summary.json, the picture of the slice views, and report.html."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from SlicerStandIn import slice_pictures
from SparseAnnotateLib import scene
from SparseAnnotateLib.core import CaseFigures, Plane, mean_of_known

_RESULTS = ("fill", "model", "answer")
_COLUMNS = (
    "case",
    "slices drawn",
    "density",
    *(f"{result} {figure}" for result in _RESULTS for figure in ("Dice", "HD95 mm")),
)


def summary_of(rows: list[dict[str, Any]], seconds: dict[str, float], peak_mib: float) -> dict[str, Any]:
    """The content of summary.json."""
    return {
        "cases": rows,
        "mean": {f"{result}_dice": mean_of_known(row[result]["dice"] for row in rows) for result in _RESULTS},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "peak_mib": round(peak_mib),
    }


def figures(case: CaseFigures) -> dict[str, float | None]:
    """Mean Dice and 95 % Hausdorff distance of a case, as summary.json holds them."""
    distance = case.hd95_mm
    return {"dice": case.dice, "hd95_mm": distance if distance is not None and math.isfinite(distance) else None}


def print_table(summary: dict[str, Any]) -> None:
    """The summary as a table on the terminal."""
    table = Table(*_COLUMNS)
    for cells in _cells(summary):
        table.add_row(*cells)
    console = Console(width=120)
    console.print(table)
    times = ", ".join(f"{name} {value:.1f} s" for name, value in summary["seconds"].items())
    console.print(f"{times}; peak memory {summary['peak_mib']} MiB.")
    console.print("All figures are over the whole volume, drawn slices included.")


def picture_of(volume, rows: dict[str, Any], path: Path) -> None:
    """Axial, coronal and sagittal views of a volume, a row for each segmentation in `rows`, as one PNG."""
    centre = _centre_of(rows["Reference"], volume)
    views = {plane: slice_pictures.SliceView(plane.value.capitalize()) for plane in Plane}
    geometry = scene.geometry_of(volume)
    pictures = []
    for title, segmentation in rows.items():
        for other in rows.values():
            other.GetDisplayNode().SetVisibility(other is segmentation)
        segmentation.GetDisplayNode().SetOpacity2DFill(0.35)
        row = []
        for plane, view in views.items():
            view.show(volume)
            scene.jump_to_slice(view.node, volume, plane, centre[plane.array_axis(geometry)])
            view.logic.FitSliceToBackground()
            row.append(_with_title(view.picture(), f"{title}, {plane.value}"))
        pictures.append(row)
    for view in views.values():
        view.close()
    slice_pictures.save_png(path, pictures)


def write_html(path: Path, summary: dict[str, Any], pictures: dict[str, Path | None], facts: dict[str, str]) -> None:
    """A report in one file: figures, pictures (title to PNG; None: no picture) and how they were created."""
    head = "".join(f"<th>{html.escape(c)}</th>" for c in _COLUMNS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>" for cells in _cells(summary)
    )
    items = {**facts, "Peak memory": f"{summary['peak_mib']} MiB"}
    items |= {f"Seconds, {name}": f"{value:.1f}" for name, value in summary["seconds"].items()}
    rows = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in items.items())
    images = "".join(_image(title, picture) for title, picture in pictures.items() if picture is not None)
    path.write_text(
        "<!doctype html><html lang=en><meta charset=utf-8><title>SparseAnnotate demo</title><style>"
        "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}"
        "td,th{border:1px solid #ccc;padding:.25em .6em;text-align:right}img{max-width:100%;margin:1em 0}</style>"
        f"<h1>SparseAnnotate demo</h1><table><tr>{head}</tr>{body}</table>"
        "<p>All figures are over the whole volume, drawn slices included. The answer is from the drawn slices, the "
        "fill and the model together. A reference segmentation was copied onto the "
        f"recommended slices, as a person would draw them.</p>{images}<h2>How</h2><table>{rows}</table></html>",
        encoding="utf-8",
    )


def _image(title: str, picture: Path) -> str:
    content = base64.b64encode(picture.read_bytes()).decode()
    return f'<h2>{html.escape(title)}</h2><img alt="{html.escape(title)}" src="data:image/png;base64,{content}">'


def _cells(summary: dict[str, Any]) -> list[list[str]]:
    rows = []
    for case in summary["cases"]:
        numbers = [case[kind][figure] for kind in _RESULTS for figure in ("dice", "hd95_mm")]
        rows.append(
            [case["case"], str(case["slices_drawn"]), f"{case['density']:.1%}"]
            + [
                "missing" if n is None else f"{n:.3f}" if place % 2 == 0 else f"{n:.1f}"
                for place, n in enumerate(numbers)
            ]
        )
    mean = summary["mean"]
    means = [[_figure(mean[f"{result}_dice"]), ""] for result in _RESULTS]
    rows.append(["mean", "", "", *(cell for pair in means for cell in pair)])
    return rows


def _figure(mean: float | None) -> str:
    return "missing" if mean is None else f"{mean:.3f}"


def _centre_of(segmentation, volume) -> list[int]:
    """The index of the middle of a segmentation, along each array axis of the volume."""
    labels = scene.labels_of(segmentation, volume, scene.label_values(segmentation))
    return [round(float(axis.mean())) for axis in np.nonzero(labels)]


def _with_title(picture: np.ndarray, title: str) -> np.ndarray:
    image = Image.fromarray(picture)
    ImageDraw.Draw(image).text((8, 6), title, fill=(255, 255, 255), font_size=16)
    return np.asarray(image)
