"""The worker's requests as subcommands of `sparse-annotate`, for folders, clusters and scripts.

Nothing is imported here, because signals must be caught before any large module is loaded.
"""
