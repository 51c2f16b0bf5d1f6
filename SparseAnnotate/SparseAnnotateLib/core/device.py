"""The device that is computed on when the user names none."""

DEFAULT_DEVICE = "auto"
"""The best device that works: a GPU, otherwise the CPU."""
