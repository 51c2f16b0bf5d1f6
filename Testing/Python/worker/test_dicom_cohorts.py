"""Cohorts made from DICOM folders, and their results as DICOM SEG, through the command line."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_made import PATIENT, oblique, save, write_multiframe, write_series
from small_volumes import ball, cancelled_at
from SparseAnnotateLib import __version__
from SparseAnnotateLib.command_line.main import main
from SparseAnnotateLib.core import (
    BadInputError,
    CancelledError,
    Cohort,
    Plane,
    Provenance,
    SparseAnnotation,
    VolumeGeometry,
    Watch,
    dicom_packages,
)
from SparseAnnotateLib.core.applied_segmentation import AppliedSegmentation
from SparseAnnotateLib.core.dicom_codes import Code, StructureCodes
from SparseAnnotateLib.core.dicom_files import dicom_files
from SparseAnnotateLib.core.dicom_headers import read_headers
from SparseAnnotateLib.core.dicom_reading import read_segmentation, read_segmentation_header
from SparseAnnotateLib.core.dicom_series import DicomSeries, series_of
from SparseAnnotateLib.core.dicom_source import known_codes
from SparseAnnotateLib.core.dicom_writing import DicomSegment, stacked, write_segmentation
from SparseAnnotateLib.core.images import write_image
from SparseAnnotateLib.core.origin import Origin
from SparseAnnotateLib.worker import export_dicom_request
from SparseAnnotateLib.worker.requests import METHODS

SHAPE = (12, 20, 18)
GEOMETRY = oblique(SHAPE)
LABELS = ball(SHAPE, 6.0) + ball(SHAPE, 3.0)
VOXELS = 100 * LABELS.astype(int) + np.random.default_rng(1).integers(-20, 20, SHAPE)
LIVER = StructureCodes(
    Code("SCT", "123037004", "Anatomical Structure"),
    Code("SCT", "10200004", "Liver"),
    Code("SCT", "24028007", "Right"),
    Code("SCT", "818981001", "Abdomen"),
)


@pytest.fixture
def hospital(tmp_path) -> Path:
    """Two patients with a volume each, one of them in frames of a single file, and a localizer."""
    write_series(tmp_path / "in" / "p1" / "mr", VOXELS, GEOMETRY, modality="MR")
    write_series(tmp_path / "in" / "p1" / "scout", VOXELS[:3], GEOMETRY, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_multiframe(
        tmp_path / "in" / "p2" / "image", VOXELS + 1000, GEOMETRY, np.random.default_rng(0).permutation(SHAPE[0])
    )
    return tmp_path / "in"


@pytest.fixture
def cohort(hospital, tmp_path, capsys) -> Cohort:
    assert run("create", tmp_path / "co", hospital, "--labels", "1=liver", "2=tumor", "--keep-source-paths") == 0
    capsys.readouterr()
    return Cohort.open(tmp_path / "co")


def drawn(cohort: Cohort, name: str, indices=range(0, 12, 2)) -> None:
    geometry = cohort.geometry(name)
    cohort.save_annotation(name, SparseAnnotation.from_slices(LABELS, geometry, Plane.AXIAL, indices))


def filled(cohort: Cohort, *names: str, labels: np.ndarray = LABELS) -> None:
    """Cases with drawn slices, and a fill with these labels."""
    for name in names:
        drawn(cohort, name)
        facts = cohort.origin(name, method="auto").facts()
        write_image(cohort.fill_path(name), labels, cohort.geometry(name), facts=facts)


def test_a_folder_that_cannot_be_written_is_noticed_before_the_series_are_read(cohort, tmp_path, capsys, monkeypatch):
    filled(cohort, "case_001")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(export_dicom_request, "SourceSeries", None)
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "file" / "out") == 1
    assert "out' cannot be written" in capsys.readouterr().err


def only_series(folder: Path) -> DicomSeries:
    (series,) = series_of(read_headers(dicom_files(folder)[0], Watch()))
    return series


def run(*arguments) -> int:
    return main(list(map(str, arguments)))


def test_series_become_numbered_cases_and_localizers_are_left_out_and_said(hospital, tmp_path, capsys):
    assert run("create", tmp_path / "co", hospital) == 0
    said = capsys.readouterr().err
    cohort = Cohort.open(tmp_path / "co")
    assert [case.name for case in cohort.cases] == ["case_001", "case_002"]
    image, geometry = cohort.image("case_001")
    assert np.array_equal(image, VOXELS)
    assert np.allclose(geometry.matrix, GEOMETRY.matrix, rtol=0, atol=1e-9)
    assert "Left out: series 3 (CT, 'abdomen venous', 1." in said
    assert "it is a localizer (scout), not a volume." in said
    # The same folder again adds nothing; what is new in it is added with the next number.
    write_series(hospital / "p3", VOXELS, GEOMETRY, modality="MR")
    assert run("add", tmp_path / "co", hospital) == 0
    assert "Added 1 case to the cohort 'co', which now has 3." in capsys.readouterr().err
    assert Cohort.open(tmp_path / "co").cases[-1].name == "case_003"


def test_nothing_in_the_cohort_or_on_the_screen_names_the_patient(tmp_path, capsys):
    folder = tmp_path / "Müller_Annegret"
    write_series(folder / "CT", VOXELS, GEOMETRY, SeriesDescription="Thorax Frau Müller", PatientID="4711-X")
    assert run("create", tmp_path / "co", folder) == 0
    output = capsys.readouterr()
    written = [path for path in (tmp_path / "co").rglob("*") if path.is_file()]
    content = "".join(path.read_bytes().decode("latin-1") + path.name for path in written) + output.out + output.err
    assert len(written) == 3
    for word in ("Annegret", "annegret", "M\u00fcller", "M\u00c3\u00bcller", "4711-X", "Thorax"):
        assert word not in content, word
    assert "The paths of the DICOM files are not kept, because paths often name the patient" in output.err
    filled(Cohort.open(tmp_path / "co"), "case_001")
    assert run("export-dicom", tmp_path / "co", "--out", tmp_path / "out") == 1
    assert "was not kept, because paths often name the patient. Give the folder of the series with '--dicom'." in (
        capsys.readouterr().err
    )
    assert run("export-dicom", tmp_path / "co", "--out", tmp_path / "out", "--dicom", folder) == 0


def test_what_names_the_patient_is_kept_when_asked_for(tmp_path, capsys):
    write_series(tmp_path / "Müller_Annegret" / "CT", VOXELS, GEOMETRY)
    options = ["--name-from", "patient", "--keep-source-paths"]
    assert run("create", tmp_path / "co", tmp_path / "Müller_Annegret", *options) == 0
    source = json.loads((tmp_path / "co" / "dicom" / "sources" / "4711-X.json").read_text(encoding="utf-8"))
    assert source["folders"] == ["../Müller_Annegret/CT"]
    assert "not kept" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--names", "one", "two"], ["one", "two"]),
        (["--name-from", "parent"], ["mr", "p2"]),
        (["--name-from", "patient"], ["4711-X_3", "4711-X_4"]),
    ],
)
def test_cases_are_named_as_asked(hospital, tmp_path, options, names):
    path = hospital / "p2" / "image"
    changed(path, SeriesNumber=4)
    assert run("create", tmp_path / "co", hospital, *options) == 0
    assert [case.name for case in Cohort.open(tmp_path / "co").cases] == names


@pytest.mark.parametrize("folders", [("p2", "p1"), ("p1", "p2")])
def test_names_belong_to_the_folders_in_the_order_in_which_both_are_given(hospital, tmp_path, folders):
    assert run("create", tmp_path / "co", *(hospital / name for name in folders), "--names", *folders) == 0
    cohort = Cohort.open(tmp_path / "co")
    assert [case.name for case in cohort.cases] == list(folders)
    assert cohort.image("p2")[0].mean() > cohort.image("p1")[0].mean() + 500  # not the series of the other patient


def test_a_localizer_that_is_chosen_by_its_description_is_refused(hospital, tmp_path, capsys):
    assert run("create", tmp_path / "co", hospital, "--series", "abdomen VENOUS") == 1
    assert "it is a localizer (scout), not a volume." in capsys.readouterr().err
    assert not (tmp_path / "co").exists()


def test_one_series_is_chosen_by_its_uid(hospital, tmp_path):
    uid = only_series(hospital / "p2").uid
    assert run("create", tmp_path / "co", hospital, "--series", uid, "--names", "x") == 0
    (case,) = Cohort.open(tmp_path / "co").cases
    assert np.array_equal(Cohort.open(tmp_path / "co").image(case.name)[0][0], 2 * (VOXELS[0] + 1000))


def test_a_series_that_cannot_be_used_stops_everything_unless_it_is_skipped(hospital, tmp_path, capsys):
    write_series(hospital / "p3", VOXELS, GEOMETRY, lambda headers: headers[:4] + headers[6:])
    assert run("create", tmp_path / "co", hospital) == 1
    said = capsys.readouterr().err
    assert "1 DICOM series cannot be used: series 3 (CT, " in said
    assert "2 slices are missing" in said
    assert "choose series with '--series', or use '--skip-unusable'" in said
    assert not (tmp_path / "co").exists()
    assert run("create", tmp_path / "co", hospital, "--skip-unusable") == 0
    assert len(Cohort.open(tmp_path / "co").cases) == 2
    assert "Skipped: series 3 (CT, " in capsys.readouterr().err


def test_a_failure_while_voxels_are_read_leaves_nothing_behind(hospital, tmp_path, capsys):
    def damaged(headers):
        for dataset in headers:
            dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"
            dataset.PixelData = pydicom.encaps.encapsulate([b"no image" * 4])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True

    write_series(hospital / "p3", VOXELS, GEOMETRY, damaged, modality="MR")
    assert run("create", tmp_path / "co", hospital) == 1
    assert "pip install pylibjpeg pylibjpeg-openjpeg" in capsys.readouterr().err
    assert [path for path in (tmp_path / "co").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("moment", [1, 14, 30])
def test_cancelling_leaves_nothing_behind(hospital, tmp_path, moment):
    request = METHODS["create"][0](str(tmp_path / "co"), (str(hospital),))
    with pytest.raises(CancelledError):
        METHODS["create"][1](request, cancelled_at(moment))
    assert [path for path in (tmp_path / "co").rglob("*") if path.is_file()] == []


def test_a_missing_package_is_named_with_what_to_install(hospital, cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(dicom_packages, "find_spec", lambda name: None)
    assert run("create", tmp_path / "other", hospital) == 1
    assert "need packages that are not installed: pydicom. Install them with" in capsys.readouterr().err
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out") == 1
    assert "pydicom, highdicom. Install them with 'pip install \"sparse-annotate[dicom]\"'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (
            lambda f: [(f / f"{n}.dcm").write_bytes(b"x" * 200) for n in range(3)],
            [],
            "is DICOM, although 3 have the ending .dcm. Check",
        ),
        (
            lambda f: (f / "a.txt").write_text("x"),
            ["--series", "liver"],
            "There are no DICOM files in the folder given, so",
        ),
        (lambda f: write_series(f, VOXELS[:1], GEOMETRY), [], "it is a single image, not a volume"),
        (lambda f: write_series(f, VOXELS, GEOMETRY), ["--names", "a", "b"], "DICOM series: 1, number of names: 2"),
        (lambda f: write_series(f, VOXELS, GEOMETRY), ["--labels", "0=x"], "0 is the background"),
        (
            lambda f: write_series(f, VOXELS, GEOMETRY, PatientID=""),
            ["--name-from", "patient"],
            "have no patient ID. Name the cases with '--names'.",
        ),
        (lambda f: write_image(f / "a.nrrd", LABELS, GEOMETRY), ["--name-from", "patient"], "Only DICOM files have"),
    ],
)
def test_what_cannot_become_a_cohort_is_refused_in_a_sentence(tmp_path, make, options, words, capsys):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    assert run("create", tmp_path / "co", tmp_path / "in", *options) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "co").exists()


def test_dicom_and_other_images_are_not_mixed(hospital, tmp_path, capsys):
    write_image(tmp_path / "a.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "co", hospital, tmp_path / "a.nrrd") == 1
    assert (
        "Of the 2 files and folders given, number 1 is DICOM, and number 2 is not. Add them one"
        in capsys.readouterr().err
    )


def test_a_fill_becomes_a_segmentation_that_highdicom_reads_in_its_place(cohort, tmp_path, capsys):
    filled(cohort, "case_001", "case_002")
    arguments = ["--out", tmp_path / "out", "--codes", "liver=SCT:10200004:Liver", "--json"]
    assert run("export-dicom", cohort.folder, *arguments) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["segments"][0]["made"] for row in rows] == ["semiautomatic"] * 2
    assert rows[0]["notes"] == [
        "No code is known for 'tumor'; written as 'Tissue' (SCT 85756007) with the name as label. Give codes with "
        "'--codes'."
    ]
    for name, folder in (("case_001", "p1/mr"), ("case_002", "p2")):
        seg = highdicom.seg.segread(tmp_path / "out" / f"{name}.dcm")
        series = only_series(tmp_path / "in" / folder)
        assert str(seg.PatientName) == PATIENT
        assert seg.StudyInstanceUID == series.headers[0].study_uid
        assert seg.FrameOfReferenceUID == series.headers[0].frame_of_reference_uid
        referenced = seg.ReferencedSeriesSequence[0]
        assert referenced.SeriesInstanceUID == series.uid
        images = [item.ReferencedSOPInstanceUID for item in referenced.ReferencedInstanceSequence]
        assert set(images) == {one.sop_uid for one in series.slices}
        liver, tumor = (seg.get_segment_description(n) for n in (1, 2))
        assert (liver.segment_label, liver.segmented_property_type.value) == ("liver", "10200004")
        assert (tumor.segment_label, tumor.segmented_property_type.value) == ("tumor", "85756007")
        assert liver.algorithm_type.value == "SEMIAUTOMATIC"
        assert liver.SegmentAlgorithmName == "SparseAnnotate: filled (auto)"
        assert liver.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == __version__
        assert seg.SegmentsOverlap == "NO"
        volume = seg.get_volume(combine_segments=True)
        whole = VolumeGeometry.from_itk(
            volume.spatial_shape[::-1],
            volume.spacing[::-1],
            volume.position,
            np.stack([volume.affine[:3, a] / np.linalg.norm(volume.affine[:3, a]) for a in (2, 1, 0)], axis=1),
        )
        shown = np.flatnonzero(LABELS.any(axis=(1, 2)))
        part = LABELS[shown[0] : shown[-1] + 1]
        assert np.array_equal(whole.to_standard_order(volume.array), GEOMETRY.to_standard_order(part))
        # The first voxel of the first slice that shows something lies where the image has it.
        corner = GEOMETRY.matrix @ [0, 0, shown[0], 1]
        positions = [f.PlanePositionSequence[0].ImagePositionPatient for f in seg.PerFrameFunctionalGroupsSequence]
        distances = [np.linalg.norm(np.array(p) * [-1, -1, 1] - corner[:3]) for p in positions]
        assert min(distances) < 1e-6
        # ... and is read back by this program bit by bit, onto the whole image.
        file = read_segmentation_header(tmp_path / "out" / f"{name}.dcm")
        assert np.array_equal(read_segmentation(file, cohort.geometry(name)), LABELS)


def test_dcmqi_reads_the_segmentation_with_the_same_voxels(cohort, tmp_path):
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.is_file():
        # There are no packages of it for other systems.
        assert (sys.platform, platform.machine()) != ("linux", "x86_64"), "dcmqi is not installed: pip install dcmqi"
        pytest.skip("dcmqi is not installed")
    import SimpleITK as sitk

    filled(cohort, "case_001", "case_002")
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out") == 0
    for name in ("case_001", "case_002"):
        (tmp_path / name).mkdir()
        arguments = ["--inputDICOM", tmp_path / "out" / f"{name}.dcm", "--outputDirectory", tmp_path / name]
        arguments += ["--outputType", "nrrd", "--mergeSegments"]
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / name).glob("*.nrrd")
        image = sitk.ReadImage(str(path))
        geometry = VolumeGeometry.from_itk(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
        labels = sitk.GetArrayFromImage(image)
        offset = np.rint(np.linalg.solve(GEOMETRY.matrix, geometry.matrix)[:3, 3]).astype(int)[::-1]
        corner = GEOMETRY.matrix @ [*offset[::-1], 1]
        assert np.allclose(geometry.matrix[:3, 3], corner[:3], rtol=0, atol=1e-4)
        found = np.zeros(SHAPE, int)
        found[tuple(slice(o, o + n) for o, n in zip(offset, labels.shape, strict=True))] = labels
        assert np.array_equal(found, LABELS)
        facts = json.loads(next((tmp_path / name).glob("*.json")).read_text())
        segments = [segment for group in facts["segmentAttributes"] for segment in group]
        assert {segment["SegmentLabel"] for segment in segments} == {"liver", "tumor"}


def test_a_volume_comes_back_from_a_segmentation_bit_by_bit(hippocampi, tmp_path):
    """A real one, or one made here where there is none."""
    if hippocampi is not None:
        data = Cohort.open(hippocampi)
        name = next(case.name for case in data.cases if data.has_reference(case.name))
        (image, geometry), labels = data.image(name), data.reference(name)
        image, names = image.astype(np.int64) // 64, list(data.labels.values())
    else:
        geometry = oblique((9, 14, 11), (3.3, 0.9, 1.1))
        image = np.random.default_rng(4).integers(-900, 900, (9, 14, 11))
        labels, names = np.random.default_rng(5).integers(0, 3, (9, 14, 11)).astype(np.uint8), ["front", "back"]
    write_series(tmp_path / "in", image, geometry)
    series = only_series(tmp_path / "in")
    path = written(tmp_path / "seg" / "a.dcm", series, labels, *map(DicomSegment, names))
    assert run("create", tmp_path / "co", tmp_path / "in", "--references", path) == 0
    cohort = Cohort.open(tmp_path / "co")
    turned = geometry.with_same_voxels(cohort.reference("case_001"), cohort.geometry("case_001"))
    assert turned is not None
    assert np.array_equal(turned, labels)


def test_a_dicomdir_stands_for_the_files_beside_it(hospital, tmp_path):
    source = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests" / "DICOMDIR"
    shutil.copy(source, hospital)
    assert run("create", tmp_path / "co", hospital / "DICOMDIR") == 0
    assert len(Cohort.open(tmp_path / "co").cases) == 2


def test_other_images_in_a_folder_come_first_unless_series_are_asked_for(hospital, tmp_path):
    write_image(hospital / "p1" / "a.nrrd", LABELS, GEOMETRY)
    assert run("create", tmp_path / "co", hospital / "p1") == 0
    assert [case.name for case in Cohort.open(tmp_path / "co").cases] == ["a"]
    uid = only_series(hospital / "p1" / "mr").uid
    assert run("add", tmp_path / "co", hospital / "p1", "--series", uid) == 0
    assert [case.name for case in Cohort.open(tmp_path / "co").cases] == ["a", "case_001"]


def test_how_voxels_were_made_is_told_by_their_provenance(cohort, tmp_path, capsys):
    drawn(cohort, "case_001")
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "drawn", "--drawn", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert {segment["made"] for segment in row["segments"]} == {"manual"}
    seg = pydicom.dcmread(tmp_path / "drawn" / "case_001.dcm")
    assert "SegmentAlgorithmName" not in seg.SegmentSequence[0]
    for name in ("case_001", "case_002"):
        facts = Origin.of(cohort.annotation(name), cohort.image_fingerprint(name), run="net").facts()
        write_image(cohort.prediction_path("net", name), LABELS, cohort.geometry(name), facts=facts)
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "net", "--run", "net", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    # Nothing is drawn in the second case.
    assert [{segment["made"] for segment in row["segments"]} for row in rows] == [{"semiautomatic"}, {"automatic"}]
    seg = pydicom.dcmread(tmp_path / "net" / "case_002.dcm")
    assert seg.SegmentSequence[0].SegmentAlgorithmName == "SparseAnnotate: predicted (net)"


def test_what_was_applied_in_slicer_is_exported_with_what_has_been_drawn_since(cohort, tmp_path, capsys):
    drawn(cohort, "case_001")
    labels = LABELS.copy()
    labels[11] = 2 * (labels[11] > 0)
    labels[3, :2, :2] = 1
    provenance = Provenance.of(cohort.annotation("case_001"))
    painted = np.zeros(SHAPE, bool)
    painted[3, :2, :2] = True
    provenance.enter("painted, not marked", painted)
    provenance.enter("predicted (first)", (labels == 1))
    applied = AppliedSegmentation(labels, cohort.labels, provenance, cohort.origin("case_001"))
    list(applied.writing(cohort, "case_001"))
    drawn(cohort, "case_001", (*range(0, 12, 2), 5))
    out = tmp_path / "out"
    assert run("export-dicom", cohort.folder, "--out", out, "--applied", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    whole = applied.with_drawn(cohort.annotation("case_001"))
    assert (whole.labels[5] == LABELS[5]).all()
    counts = {one["name"]: (one["voxels"], one["made"]) for one in row["segments"]}
    assert counts["liver"] == (int((whole.labels == 1).sum()), "semiautomatic")
    assert counts["tumor"][0] == int((whole.labels == 2).sum())
    assert run("export-dicom", cohort.folder, "--out", out, "--applied", "--cases", "case_002") == 1
    assert "nothing applied" in capsys.readouterr().err


def test_what_is_out_of_date_or_lost_is_not_written(cohort, hospital, tmp_path, capsys):
    filled(cohort, "case_001", "case_002")
    drawn(cohort, "case_001", range(0, 12, 3))
    shutil.rmtree(hospital / "p2")
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "The fill of case 'case_001' is out of date" in said
    assert "The folder of the DICOM series of case 'case_002' does not exist any more." in said
    assert not (tmp_path / "out").exists()


def test_a_series_that_has_changed_is_refused(cohort, hospital, tmp_path, capsys):
    filled(cohort, "case_001")
    path = next((hospital / "p1" / "mr").iterdir())
    dataset = pydicom.dcmread(path)
    dataset.SOPInstanceUID = "1.2.3"
    save(path, dataset)
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out") == 1
    assert "has other images than when the case 'case_001' was made from it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Cannot be written (no fill): 'case_001', 'case_002'."),
        (["--run", "x"], "no prediction of the run 'x'"),
        (["--drawn", "--cases", "case_002"], "Cannot be written (no drawn slice): 'case_002'."),
        (["--codes", "liver"], "Write the code of a structure as NAME=SCHEME:VALUE:MEANING"),
    ],
)
def test_what_cannot_be_exported_is_said(cohort, tmp_path, options, words, capsys):
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out", *options) == 1
    assert words in capsys.readouterr().err


def test_cases_from_other_files_are_left_out_and_refused_when_named(cohort, tmp_path, capsys):
    cohort.add_case("plain", VOXELS.astype(np.int16), GEOMETRY)
    filled(cohort, "case_001", "plain")
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out") == 0
    assert "not made from DICOM): 'case_002', 'plain'" in capsys.readouterr().err
    assert run("export-dicom", cohort.folder, "--out", tmp_path / "out", "--cases", "plain") == 1
    assert "The case 'plain' was not made from DICOM, so its segmentation cannot" in capsys.readouterr().err


def written(path: Path, series: DicomSeries, voxels: np.ndarray, *segments: DicomSegment) -> Path:
    write_segmentation(path, series, segments, voxels, "1", Watch())
    return path


def test_overlapping_segments_are_written_as_they_are_and_refused_when_taken_in(cohort, hospital, tmp_path, capsys):
    masks = {1: LABELS > 0, 2: LABELS > 1}
    series = only_series(hospital / "p1" / "mr")
    segments = (DicomSegment("liver"), DicomSegment("tumor"))
    path = written(tmp_path / "seg" / "a.dcm", series, stacked(masks), *segments)
    seg = highdicom.seg.segread(path)
    assert seg.SegmentsOverlap == "YES"
    assert int(seg.get_volume().array[..., 0].sum()) == int(masks[1].sum())
    assert int(seg.get_volume().array[..., 1].sum()) == int(masks[2].sum())
    assert run("import-drawn", cohort.folder, path) == 1
    said = capsys.readouterr().err
    assert f"'liver' and 'tumor' at {int(masks[2].sum())} voxels" in said
    assert cohort.annotated_cases() == []


def test_a_segmentation_becomes_drawn_slices_by_the_names_of_its_segments(cohort, hospital, tmp_path, capsys):
    only_some = LABELS.copy()
    only_some[::2] = 0
    swapped = np.array([0, 2, 1], dtype=np.uint8)[only_some]
    series = only_series(hospital / "p2")
    path = tmp_path / "seg" / "whatever"
    written(path, series, swapped, DicomSegment("tumor"), DicomSegment("liver", LIVER))
    assert run("import-drawn", cohort.folder, tmp_path / "seg") == 0
    shown = [k for k in range(SHAPE[0]) if only_some[k].any()]
    annotation = cohort.annotation("case_002")
    assert annotation.ledger.indices(Plane.AXIAL) == shown
    assert np.array_equal(annotation.drawn_labels(), only_some)
    # What the segments are is kept, and written again.
    assert known_codes(cohort) == {"liver": LIVER}
    capsys.readouterr()
    assert run("export-dicom", cohort.folder, "--drawn", "--out", tmp_path / "out") == 0
    assert read_segmentation_header(tmp_path / "out" / "case_002.dcm").codes[1] == LIVER


def test_segmentations_become_references(hospital, tmp_path, capsys):
    for name, folder in (("one", "p1/mr"), ("two", "p2")):
        segments = (DicomSegment("liver", LIVER), DicomSegment("Lebermetastase größer"))
        written(tmp_path / "seg" / name, only_series(hospital / folder), LABELS, *segments)
    assert run("create", tmp_path / "co", hospital, "--references", tmp_path / "seg") == 0
    cohort = Cohort.open(tmp_path / "co")
    assert cohort.labels == {1: "liver", 2: "Lebermetastase größer"}
    assert all(np.array_equal(cohort.reference(case.name), LABELS) for case in cohort.cases)
    assert known_codes(cohort)["liver"] == LIVER
    (tmp_path / "seg" / "two").unlink()
    capsys.readouterr()
    assert run("create", tmp_path / "other", hospital, "--references", tmp_path / "seg") == 1
    assert "Give one DICOM SEG as the reference of each series. For series 3 (MR, " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_damaged_codes_are_named_before_cases_with_segmentations_are_added(hospital, tmp_path, capsys):
    for name, folder in (("one", "p1/mr"), ("two", "p2")):
        segments = (DicomSegment("liver", LIVER), DicomSegment("tumor"))
        written(tmp_path / "seg" / name, only_series(hospital / folder), LABELS, *segments)
    assert run("create", tmp_path / "co", hospital / "p1" / "mr", "--references", tmp_path / "seg" / "one") == 0
    codes = tmp_path / "co" / "dicom" / "terminology.json"
    before = codes.read_text()
    codes.write_text("{")
    capsys.readouterr()
    command = ("add", tmp_path / "co", hospital / "p2", "--references", tmp_path / "seg" / "two")
    assert run(*command) == 1
    assert str(codes) in capsys.readouterr().err
    assert len(Cohort.open(tmp_path / "co").cases) == 1
    codes.write_text(before)
    assert run(*command) == 0
    assert len(Cohort.open(tmp_path / "co").cases) == 2


def changed(path: Path, **elements) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def test_a_segmentation_of_another_series_or_frame_of_reference_is_refused(cohort, hospital, tmp_path, capsys):
    write_series(tmp_path / "else", VOXELS, GEOMETRY)
    path = written(tmp_path / "a.dcm", only_series(tmp_path / "else"), LABELS, *map(DicomSegment, ("liver", "tumor")))
    assert run("import-drawn", cohort.folder, path) == 1
    assert "refers to a series that no case of the cohort was made from" in capsys.readouterr().err
    path = written(tmp_path / "b.dcm", only_series(hospital / "p2"), LABELS, *map(DicomSegment, ("liver", "tumor")))
    assert run("import-drawn", cohort.folder, changed(path, FrameOfReferenceUID="1.2.3")) == 1
    assert "lies in another frame of reference than the image" in capsys.readouterr().err
    assert cohort.annotated_cases() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SegmentationType": "FRACTIONAL"}, "a.dcm' is fractional (probabilities)"),
        ({"SegmentSequence": []}, "has no segments"),
        ({"PixelData": b"\x00" * 8}, "is damaged or cut off. Copy it again."),
    ],
)
def test_segmentations_that_cannot_be_read_are_refused(cohort, hospital, tmp_path, change, words, capsys):
    path = written(tmp_path / "a.dcm", only_series(hospital / "p2"), LABELS, *map(DicomSegment, ("liver", "tumor")))
    assert run("import-drawn", cohort.folder, changed(path, **change)) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SegmentationType": "FRACTIONAL"}, "The DICOM SEG number 1 of 1 in folder 1 of 3 in"),
        ({"FrameOfReferenceUID": "1.2.3"}, "lies in another frame of reference"),
        ({"ReferencedSeriesSequence": []}, "refers to a series that no case"),
        ({"PixelData": b"\x00" * 8}, "is damaged or cut off. Copy it again."),
        ({}, "number 1 of 1 in folder 1 of 3 in"),
    ],
)
def test_messages_and_results_do_not_show_the_path_of_a_segmentation_that_names_the_patient(
    cohort, hospital, tmp_path, change, words, capsys
):
    folder = tmp_path / "Annegret"
    path = written(folder / "a.dcm", only_series(hospital / "p2"), LABELS, *map(DicomSegment, ("liver", "tumor")))
    changed(path, **change)
    capsys.readouterr()
    assert run("import-drawn", cohort.folder, folder, "--json") == (1 if change else 0)
    output = capsys.readouterr()
    said = output.out + output.err
    assert words in " ".join(said.split())
    assert "Annegret" not in said
    # Of several, too.
    shutil.copy(path, folder / "b.dcm")
    run("import-drawn", cohort.folder, folder, "--json")
    output = capsys.readouterr()
    assert "Annegret" not in output.out + output.err


def test_damaged_segmentations_in_a_folder_are_told_by_numbers(cohort, hospital, tmp_path, capsys):
    path = written(tmp_path / "a.dcm", only_series(hospital / "p2"), LABELS, *map(DicomSegment, ("liver", "tumor")))
    for name in "ab":
        folder = tmp_path / "masks" / f"Annegret_{name}"
        folder.mkdir(parents=True)
        (folder / "a.dcm").write_bytes(path.read_bytes()[:600])
    assert run("import-drawn", cohort.folder, tmp_path / "masks", "--json") == 1
    output = capsys.readouterr()
    said = " ".join((output.out + output.err).split())
    for number in (1, 2):
        assert (
            f"DICOM file number 1 of 1 in folder {number} of 2 in the folder given (sorted by name; its path is" in said
        )
    assert "Annegret" not in said


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flip", [False, True])
def test_a_segmentation_is_read_onto_grids_with_other_axes_and_larger_ones(hospital, tmp_path, axes, flip):
    path = written(tmp_path / "a.dcm", only_series(hospital / "p1" / "mr"), LABELS, *map(DicomSegment, "ab"))
    matrix, labels = GEOMETRY.matrix, LABELS
    matrix[:3, 3] -= matrix[:3, :3] @ [2, 1, 3]
    labels = np.pad(labels, ((3, 1), (1, 0), (2, 4)))
    if flip:
        matrix[:3, 3] += matrix[:3, 0] * (labels.shape[2] - 1)
        matrix[:3, 0] *= -1
        labels = labels[:, :, ::-1]
    columns = matrix[:3, 2::-1][:, list(axes)]
    turned = matrix.copy()
    turned[:3, :3] = columns[:, ::-1]
    labels = np.transpose(labels, axes)
    geometry = VolumeGeometry.from_matrix(labels.shape, turned)
    assert np.array_equal(read_segmentation(read_segmentation_header(path), geometry), labels)


def test_a_segmentation_off_the_grid_is_not_resampled(hospital, tmp_path):
    path = written(tmp_path / "a.dcm", only_series(hospital / "p1" / "mr"), LABELS, *map(DicomSegment, "ab"))
    file, matrix = read_segmentation_header(path), GEOMETRY.matrix
    matrix[:3, 3] += 0.2 * matrix[:3, 0]
    with pytest.raises(BadInputError, match="does not lie on the grid of the image"):
        read_segmentation(file, VolumeGeometry.from_matrix(SHAPE, matrix))
    with pytest.raises(BadInputError, match="reaches beyond the image"):
        read_segmentation(file, VolumeGeometry.from_matrix((12, 20, 10), GEOMETRY.matrix))


def test_de_identified_files_that_lack_elements_are_referred_to(tmp_path, cohort, hospital):
    lacking = ("PatientID", "PatientBirthDate", "AccessionNumber", "StudyID", "StudyTime")

    def lack(headers):
        for dataset in headers:
            for keyword in lacking:
                delattr(dataset, keyword)

    write_series(tmp_path / "bare", VOXELS, GEOMETRY, lack)
    written(tmp_path / "a.dcm", only_series(tmp_path / "bare"), LABELS, *map(DicomSegment, "ab"))
    assert pydicom.dcmread(tmp_path / "a.dcm").StudyTime in (None, "")


def test_a_series_without_a_frame_of_reference_cannot_be_referred_to(tmp_path):
    write_series(tmp_path / "in", VOXELS, GEOMETRY, FrameOfReferenceUID="")
    with pytest.raises(BadInputError, match="have no frame of reference UID, which a DICOM SEG must refer to"):
        written(tmp_path / "a.dcm", only_series(tmp_path / "in"), LABELS, *map(DicomSegment, "ab"))


def test_tags_of_slicer_are_read_and_written_as_slicer_writes_them():
    tag = (
        "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
        "~SCT^10200004^Liver~SCT^24028007^Right~Anatomic codes - DICOM master list~SCT^818981001^Abdomen~^^"
    )
    assert StructureCodes.from_slicer(tag) == LIVER
    assert LIVER.for_slicer() == tag
    assert StructureCodes.from_slicer("") is None


def test_the_terminology_of_slicers_own_files_is_kept_for_export(cohort, tmp_path):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(LABELS)
    image.CopyInformation(sitk.ReadImage(str(cohort.image_path("case_001"))))
    for number, (name, tags) in enumerate(
        {"liver": f"Segmentation.Status:inprogress|TerminologyEntry:{LIVER.for_slicer()}|", "tumor": "x:y|"}.items()
    ):
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Tags", tags)
    sitk.WriteImage(image, str(tmp_path / "case_001.seg.nrrd"))
    assert run("import-drawn", cohort.folder, tmp_path / "case_001.seg.nrrd") == 0
    assert known_codes(cohort) == {"liver": LIVER}


def test_damaged_codes_are_named_and_not_replaced_by_others_in_a_file(cohort, capsys):
    filled(cohort, "case_001", "case_002")
    codes = cohort.folder / "dicom" / "terminology.json"
    codes.write_text("{")
    assert run("export-dicom", cohort.folder, "--out", cohort.folder / "out") == 1
    assert str(codes) in capsys.readouterr().err
    assert not list((cohort.folder / "out").glob("*.dcm"))


def test_the_command_calls_the_request_of_the_worker():
    assert METHODS["export_dicom"][0].__name__ == "ExportDicomRequest"
