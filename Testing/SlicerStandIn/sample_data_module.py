"""A stand-in for Slicer's Sample Data module: takes what Slicer 5.12 takes, and shows nothing."""

from __future__ import annotations

import sys
import types

sources: list[dict] = []
"""What has been registered, the oldest first."""


class SampleDataLogic:
    """The part of Slicer's class that extensions register their data with."""

    @staticmethod
    def registerCustomSampleDataSource(
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        sources.append({name: value for name, value in locals().items() if value is not None})


def install() -> None:
    """Make `SampleData` importable."""
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = SampleDataLogic
    sys.modules["SampleData"] = module
