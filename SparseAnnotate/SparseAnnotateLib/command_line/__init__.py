"""The worker's requests as subcommands of `sparse-annotate`, for folders, clusters and scripts.

Nothing is imported here: signals must be caught before anything large is loaded.
"""
