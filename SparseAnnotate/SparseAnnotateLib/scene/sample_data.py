"""The tutorial's data in Slicer's Sample Data module."""

from __future__ import annotations

from pathlib import Path

import slicer

_SHA256 = "cc211f0dfd9a05ca3841ce1141b292898b2dd2d3f08286affadf823a7e58df93"


def register_sample_data(thumbnail: Path) -> None:
    """Offer the tutorial's head MR, one of Slicer's own samples (donated for use without restrictions).

    Call it after Slicer has started.
    """
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="SparseAnnotate",
        sampleName="SparseAnnotateHead",
        uris=f"{slicer.util.TESTING_DATA_URL}SHA256/{_SHA256}",
        fileNames="MR-head.nrrd",
        checksums=f"SHA256:{_SHA256}",
        nodeNames="MRHead",
        thumbnailFileName=str(thumbnail),
    )
