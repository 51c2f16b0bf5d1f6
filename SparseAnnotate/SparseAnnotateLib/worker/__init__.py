"""The process that does the heavy work: a server, and one set of requests that the command line uses, too.

`python -m SparseAnnotateLib.worker` starts it; `client` is the other side.
"""
