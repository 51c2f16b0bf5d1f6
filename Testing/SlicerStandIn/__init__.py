"""Replacements for parts of the Slicer application, for tests without Slicer.

The scene, the segmentations, undo and the slice rendering are Slicer's own (the package slicer-core). Only the Qt
application around them has no package; what this project uses of it is stood in for here, never more than Slicer has.
"""
