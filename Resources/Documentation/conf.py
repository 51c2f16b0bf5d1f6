"""Settings of the documentation: `Testing/run docs` builds it with Sphinx, as Slicer builds its own."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parents[1] / "SparseAnnotate")]

import from_code
from SparseAnnotateLib import __version__

project = "SparseAnnotate"
author = "The SparseAnnotate developers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"SparseAnnotate {__version__}"
html_logo = "../SparseAnnotate.png"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "source_repository": "https://github.com/SlicerSparseAnnotate/SlicerSparseAnnotate/",
    "source_branch": "main",
    "source_directory": "Resources/Documentation/",
}


def setup(app) -> None:
    """Put into the reference pages what the code says of itself."""
    app.connect("source-read", lambda _app, _page, source: source.__setitem__(0, from_code.completed(source[0])))
