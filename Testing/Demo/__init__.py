"""Presentation of the project: the demo, the panel in a window, the screenshots, the icon."""
