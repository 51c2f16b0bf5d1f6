"""`python -m SparseAnnotateLib.worker`: the worker process."""

from .server import main

main()
