"""Presets that repeat the trainings of publications, one file for each; see `runs.presets`."""
