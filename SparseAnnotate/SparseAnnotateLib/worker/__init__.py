"""The process that runs the heavy work: a server and one set of requests, which are the command line's, too.

`python -m SparseAnnotateLib.worker` starts it; `client` is the other side.
"""
