"""SparseAnnotate: draw a few slices of a 3D scan, get the whole volume and the whole cohort segmented.

The folders, and which way they may depend on each other (checked by import-linter in the test run)::

    core  <-  selection, interpolation, runs  <-  learning  <-  worker  <-  command_line
    core, runs  <-  client;   core  <-  scene  <-  logic  ->  client, selection, interpolation, runs
    gui  ->  logic

What Slicer's own process loads (all but learning, worker and command_line) needs only what Slicer bundles.
"""

__version__ = "0.1.0"
