"""What DICOM files say of the patient: what is recognized, copied and never shown."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_made import oblique, save, write_series
from SparseAnnotateLib.core import BadInputError, Watch
from SparseAnnotateLib.core.dicom_codes import Code, StructureCodes, parsed_codes
from SparseAnnotateLib.core.dicom_files import dicom_files, opened
from SparseAnnotateLib.core.dicom_headers import read_header, read_headers, readable_headers
from SparseAnnotateLib.core.dicom_series import DicomSeries, series_of
from SparseAnnotateLib.core.dicom_writing import DicomSegment, write_segmentation

SHAPE = (4, 5, 7)
GEOMETRY = oblique(SHAPE)
LABELS = np.ones(SHAPE, np.uint8)


def series_with(folder: Path, change=None, **elements) -> DicomSeries:
    write_series(folder, np.zeros(SHAPE, int), GEOMETRY, change, **elements)
    (series,) = series_of(read_headers(dicom_files(folder)[0], Watch()))
    return series


def written(folder: Path, series: DicomSeries, segment: DicomSegment | None = None):
    """The SEG file of a series, and the notes on it."""
    notes = write_segmentation(folder / "a.dcm", series, [segment or DicomSegment("a")], LABELS, "1", Watch())
    return pydicom.dcmread(folder / "a.dcm"), notes


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Wang^Ming=\u738b^\u660e"}, "/data/\u738b\u660e/s"),
        ({"PatientName": "M\u00fcller-Schmidt^A"}, "/data/Schmidt_A/s"),
        ({"PatientName": "O'Brien^Pat"}, "/data/OBrien/s"),
        ({"PatientID": "00012345"}, "/data/12345/s"),
        ({"PatientID": "4711/22"}, "/data/4711-22/s"),
        ({"OtherPatientIDs": ["A7788", "B9900"]}, "/data/b9900/s"),
        ({"AccessionNumber": "ACC9981"}, "/data/acc9981/s"),
        ({"PatientBirthDate": "19550312"}, "/data/1955-03-12/s"),
        ({"PatientBirthDate": "19550312"}, "/data/12.03.1955/s"),
        ({"StudyID": "S-20405"}, "/data/S20405/s"),
        ({"PatientID": "5"}, "/data/5/s"),
    ],
)
def test_paths_that_name_the_patient_in_some_way_are_recognized(tmp_path, elements, path):
    write_series(tmp_path, np.zeros(SHAPE, int), GEOMETRY, **elements)
    header = read_header(str(next(tmp_path.iterdir())))
    assert header.names_patient(path)
    assert not header.names_patient("/data/export 2024/CT/series 12")


def test_elements_with_values_that_dicom_does_not_allow_are_left_empty_and_named_without_their_values(tmp_path):
    wrong = {"PatientBirthDate": "12.03.1955", "PatientSex": "weiblich", "StudyTime": "noon"}

    def spoil(headers):
        for dataset in headers:
            for keyword, value in wrong.items():
                dataset[keyword] = pydicom.DataElement(keyword, dataset[keyword].VR, value, validation_mode=0)

    with pydicom.config.disable_value_validation():
        series = series_with(tmp_path / "in", spoil)
    seg, notes = written(tmp_path, series)
    assert [str(seg[keyword].value or "") for keyword in wrong] == ["", "", ""]
    assert notes == [
        "Left empty, because the images have values that DICOM does not allow: PatientBirthDate, PatientSex, StudyTime."
    ]
    assert str(seg.PatientID) == "4711-X"


def test_errors_of_highdicom_are_reported_by_the_names_of_elements_only(tmp_path, monkeypatch):
    import highdicom.seg

    def fail(**_arguments):
        raise ValueError("element PatientSex has the wrong value 'weiblich' of Annegret, born 19700102")

    monkeypatch.setattr(highdicom.seg, "Segmentation", fail)
    with pytest.raises(BadInputError, match=r"or have wrong ones \(PatientSex\)\.") as caught:
        written(tmp_path, series_with(tmp_path / "in"))
    assert "weiblich" not in str(caught.value)
    assert "1970" not in str(caught.value)


def test_warnings_of_the_dicom_packages_are_not_logged_because_they_quote_values(tmp_path, caplog):
    write_series(tmp_path, np.zeros(SHAPE, int), GEOMETRY)
    with opened(next(tmp_path.iterdir())), caplog.at_level(logging.DEBUG):
        for name in ("pydicom", "highdicom.base"):
            logging.getLogger(name).warning("quotes M\u00fcller")
    assert "quotes" not in caplog.text
    logging.getLogger("highdicom.base").warning("heard again")
    assert "heard again" in caplog.text


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=\u6d2a^\u5409\u6d1e=\ud64d^\uae38\ub3d9"),
        ("ISO_IR 144", "\u041b\u044e\u043ace\u043c\u0431\u0443p\u0433"),
    ],
)
def test_names_in_several_character_sets_are_copied(tmp_path, characters, name):
    series = series_with(tmp_path / "in", SpecificCharacterSet=characters, PatientName=name)
    seg, notes = written(tmp_path, series)
    assert str(seg.PatientName) == name
    assert seg.SpecificCharacterSet == "ISO_IR 192"
    assert notes == []


@pytest.mark.parametrize("code", [("SCT", "1", "m" * 65), ("S" * 17, "1", "m"), ("SCT", "1", "a\\b")])
def test_codes_that_do_not_fit_into_dicom_are_refused(tmp_path, code):
    with pytest.raises(BadInputError, match="of the structure 'liver' does not fit into DICOM"):
        parsed_codes("liver=" + ":".join(code))
    segment = DicomSegment("liver", StructureCodes(type=Code(*code)))
    with pytest.raises(BadInputError, match="of the structure 'liver' does not fit into DICOM"):
        written(tmp_path, series_with(tmp_path / "in"), segment)


def test_files_that_only_begin_like_dicom_and_objects_without_a_series_are_no_damage(tmp_path):
    (tmp_path / "table.bin").write_bytes(b"\x08\x00\x05\x00" + bytes(range(200)))
    write_series(tmp_path / "in", np.zeros(SHAPE, int), GEOMETRY)
    dataset = pydicom.dcmread(next((tmp_path / "in").iterdir()))
    for keyword in ("SeriesInstanceUID", "Rows", "Columns", "PixelData"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.39.1"  # a color palette
    dataset.SOPInstanceUID = "1.2.3"
    save(tmp_path / "palette", dataset)
    headers, damages = readable_headers(dicom_files(tmp_path)[0], Watch())
    assert damages == {}
    assert len(headers) == SHAPE[0] + 1
    assert [one.left_out for one in series_of(headers)] == ["it holds no images (modality CT).", ""]
