"""SparseAnnotate: draw a few slices of a 3D scan, get the whole volume and the whole cohort segmented.

The folders, and which way they may depend on each other (checked by import-linter in the test run)::

    core  <-  selection, interpolation  <-  learning  <-  worker
    core  <-  scene  <-  SparseAnnotate.py  ->  gui, worker client
"""

__version__ = "0.1.0"
