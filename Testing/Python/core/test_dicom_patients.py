"""What DICOM files say of the patient: what is recognized, copied and never shown."""

from __future__ import annotations

import builtins
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_made import PATIENT, oblique, save, write_multiframe, write_series
from SparseAnnotateLib.core import BadInputError, CancelledError, Watch
from SparseAnnotateLib.core.dicom_codes import Code, StructureCodes, parsed_codes
from SparseAnnotateLib.core.dicom_files import dicom_files, is_dicom_file, opened
from SparseAnnotateLib.core.dicom_headers import read_header, read_headers, readable_headers
from SparseAnnotateLib.core.dicom_reading import read_segmentation_header
from SparseAnnotateLib.core.dicom_series import DicomSeries, series_of
from SparseAnnotateLib.core.dicom_voxels import read_series
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


def damages_in(folder: Path) -> list[str]:
    """The messages about files of a folder that cannot be read."""
    return [error.message for error in readable_headers(dicom_files(folder)[0], Watch())[1].values()]


def overwrite(path: Path, start: int, content: bytes) -> None:
    old = path.read_bytes()
    path.write_bytes(old[:start] + content + old[start + len(content) :])


NOISE = np.random.default_rng(0).bytes(4000)


@pytest.mark.parametrize(
    ("start", "content"), [(132, NOISE), (132, b"\xff" * 4000), (132, b"\0" * 4000), (140, NOISE[:200]), (0, b"")]
)
def test_an_overwritten_header_does_not_clear_a_path_that_names_the_patient(tmp_path, start, content):
    """All of it, its beginning, or only the name."""
    write_series(tmp_path / "Annegret" / "ct", np.zeros(SHAPE, int), GEOMETRY)
    path = sorted((tmp_path / "Annegret" / "ct").iterdir())[1]
    if not content:
        start, content = path.read_bytes().index(PATIENT.encode("latin-1")) - 8, NOISE[:68]
    overwrite(path, start, content)
    (message,) = damages_in(tmp_path)
    assert message == (
        f"The DICOM file number 2 of 4 in folder 1 of 1 in folder 1 of 1 in '{tmp_path}' (sorted by name; its path is "
        "not shown because it may name the patient) is damaged: its header is incomplete. Copy it again."
    )
    with pytest.raises(BadInputError, match="number 2 of 4 in its folder") as caught:
        read_header(str(path))
    assert "Annegret" not in caught.value.message


def test_an_overwritten_header_of_a_segmentation_does_not_clear_its_path(tmp_path):
    (tmp_path / "Annegret").mkdir()
    written(tmp_path / "Annegret", series_with(tmp_path / "in"))
    path = tmp_path / "Annegret" / "a.dcm"
    assert read_segmentation_header(path).shown.startswith("the DICOM SEG number 1 of 1 in folder 1 of 2 in '")
    # Another element instead of the name and ID; the rest is as it was.
    content = path.read_bytes()
    start, end = content.index(b"\x10\x00\x10\x00PN"), content.index(b"\x10\x00\x30\x00DA")
    overwrite(path, start, b"\x09\x00\x10\x10LO" + (end - start - 8).to_bytes(2, "little") + b"?" * (end - start - 8))
    hidden = "(sorted by name; its path is not shown because it may name the patient)"
    assert read_segmentation_header(path).shown == f"the DICOM SEG number 1 of 1 in its folder {hidden}"
    place = "in folder 1 of 2 in the folder that holds all the files"
    assert read_segmentation_header(path, tmp_path).shown == f"the DICOM SEG number 1 of 1 {place} {hidden}"


def test_the_name_of_a_damaged_file_of_another_patient_is_not_shown(tmp_path):
    write_series(tmp_path, np.zeros(SHAPE, int), GEOMETRY)
    path = sorted(tmp_path.iterdir())[2].rename(tmp_path / "Schulz.dcm")
    overwrite(path, 132, NOISE)
    (message,) = damages_in(tmp_path)
    assert f"file number 4 of 4 (sorted by name) in '{tmp_path}' is damaged" in message


def test_nothing_of_a_path_is_shown_when_no_file_names_a_patient(tmp_path):
    for name in "ab":
        nobody = dict.fromkeys(("PatientName", "PatientID", "PatientBirthDate"), "")
        write_series(tmp_path / f"Annegret_{name}" / "ct", np.zeros(SHAPE, int), GEOMETRY, **nobody)
        overwrite(min((tmp_path / f"Annegret_{name}" / "ct").iterdir()), 132, NOISE)
    for number, message in enumerate(damages_in(tmp_path), 1):
        place = f"folder 1 of 1 in folder {number} of 2 in the folder that holds all the files"
        assert f"file number 1 of 4 in {place} (sorted by name; its path is" in message


def test_damaged_files_at_the_same_number_in_their_folders_are_told_apart(tmp_path):
    for name in "ABC":
        write_series(tmp_path / f"Annegret_{name}" / "ct", np.zeros(SHAPE, int), GEOMETRY)
    for name in "AC":
        path = sorted((tmp_path / f"Annegret_{name}" / "ct").iterdir())[2]
        path.write_bytes(path.read_bytes()[:200])
    first, second = damages_in(tmp_path)
    assert f"file number 3 of 4 in folder 1 of 1 in folder 1 of 3 in '{tmp_path}' (sorted" in first
    assert f"file number 3 of 4 in folder 1 of 1 in folder 3 of 3 in '{tmp_path}' (sorted" in second


def test_a_file_cut_off_in_its_voxels_is_told_by_its_number_and_series(tmp_path):
    write_series(tmp_path / "Annegret", np.zeros(SHAPE, int), GEOMETRY)
    path = sorted((tmp_path / "Annegret").iterdir())[1]
    path.write_bytes(path.read_bytes()[:-20])
    (series,) = series_of(read_headers(dicom_files(tmp_path)[0], Watch()))
    place = f"the DICOM file number 2 of 4 in folder 1 of 1 in '{tmp_path}' (sorted by name; "
    assert series.problem.startswith(place)
    assert f" of {series.title} is cut off: " in series.problem
    assert "Annegret" not in series.problem


def refuse(monkeypatch, refused: Path) -> None:
    """No rights to read a file."""
    real = builtins.open

    def opening(path, *args, **options):
        if str(path) == str(refused):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(builtins, "open", opening)


def test_of_a_file_that_may_not_be_read_no_part_of_the_path_is_shown(tmp_path, monkeypatch):
    write_series(tmp_path / "Annegret" / "ct", np.zeros(SHAPE, int), GEOMETRY)
    paths = dicom_files(tmp_path)[0]
    refuse(monkeypatch, Path(paths[2]))
    with pytest.raises(BadInputError) as caught:
        dicom_files(tmp_path)
    place = "The file number 3 of 4 in folder 1 of 1 in folder 1 of 1 in the folder given (sorted by name; its path is"
    assert caught.value.message.startswith(place)
    assert caught.value.message.endswith(" cannot be read (Permission denied).")
    with pytest.raises(BadInputError, match=r"The file number 3 of 4 in its folder \(.*\) cannot be read \(Perm"):
        is_dicom_file(paths[2])
    with (
        pytest.raises(BadInputError, match=r"^The third file cannot be read \(Perm"),
        opened(paths[2], shown="the third file"),
    ):
        pass
    headers, problems = readable_headers(paths, Watch())  # the rights were taken meanwhile
    assert len(headers) == 3
    named = place.replace("The file", "The DICOM file").replace("the folder given", f"'{tmp_path}'")
    assert named in problems[paths[2]].message
    assert "Annegret" not in problems[paths[2]].message


def test_a_folder_is_listed_once_for_many_files_that_are_named_by_numbers(tmp_path, monkeypatch):
    series = series_with(tmp_path / "Annegret")
    listed = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(str(path)) or scan(path))
    read_series(series, Watch())
    assert len(listed) == len(set(listed)) > 0
    paths = dicom_files(tmp_path)[0]
    for path in paths[1:]:
        overwrite(Path(path), 132, NOISE)
    listed.clear()
    assert len(readable_headers(paths, Watch())[1]) == len(paths) - 1
    assert len(listed) == len(set(listed)) > 0


def test_naming_damaged_files_can_be_cancelled(tmp_path, monkeypatch):
    write_series(tmp_path, np.zeros(SHAPE, int), GEOMETRY)
    paths = dicom_files(tmp_path)[0]
    overwrite(Path(paths[0]), 132, NOISE)

    class CancelledAfterReading(Watch):
        def step(self, fraction, message, *args, **metrics):
            super().step(fraction, message, *args, **metrics)
            if fraction == (len(paths) - 1) / len(paths):
                self.cancel()

    with pytest.raises(CancelledError):
        readable_headers(paths, CancelledAfterReading())


def with_element(path: Path, tag: bytes, kind: bytes | None = None, value: bytes | None = None) -> None:
    """Give the first element with a tag another VR, or other bytes as its value, in a file with explicit VRs."""
    content = path.read_bytes()
    start = content.index(tag)
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    old = content[start + 8 : start + 8 + length]
    value = old if value is None else value
    head = tag + (kind or content[start + 4 : start + 6]) + len(value).to_bytes(2, "little")
    path.write_bytes(content[:start] + head + value + content[start + 8 + length :])


NAME, ID, CHARACTERS = b"\x10\x00\x10\x00", b"\x10\x00\x20\x00", b"\x08\x00\x05\x00"
GARBAGE = [
    (NAME, None, b"\xff\xfe\x1b$B\x80Anne\x1b\x1b"),
    (NAME, None, b"Anne\0gret\0\0^\0"),
    (NAME, None, b"Zwiebel" * 40),
    *((NAME, kind, None) for kind in (b"US", b"FD", b"XX", b"LO", b"DA", b"IS", b"UI", b"AT")),
    *((ID, kind, None) for kind in (b"FD", b"XX")),
    (CHARACTERS, None, b"utf-16"),
    (CHARACTERS, None, b"garbage "),
    (CHARACTERS, None, b"ISO_IR 192"),
    (CHARACTERS, None, b""),
]


@pytest.mark.parametrize(("tag", "kind", "value"), GARBAGE)
def test_a_name_that_cannot_be_read_does_not_clear_a_path(tmp_path, capsys, tag, kind, value):
    """In a multi-frame image and in a segmentation, each alone."""
    folder = tmp_path / "Annegret"
    write_multiframe(folder / "image", np.ones(SHAPE, int), GEOMETRY)
    (whole,) = series_of([read_header(str(folder / "image"))])
    written(folder, whole)
    for name in ("image", "a.dcm"):
        with_element(folder / name, tag, kind, value)
    (series,) = series_of([read_header(str(folder / "image"))])
    shown = (series.title, series.shown(str(folder / "image")), read_segmentation_header(folder / "a.dcm").shown)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            notes = write_segmentation(tmp_path / "b.dcm", series, [DicomSegment("a")], LABELS, "1", Watch())
        except BadInputError as error:
            notes = [error.message]
    said = " ".join([*shown, *notes, *map(str, heard), capsys.readouterr().err])
    assert "Annegret" not in said
    assert "Zwiebel" not in said
    assert "image" not in shown[1]


def test_a_name_with_letters_of_its_character_set_clears_a_path_that_does_not_have_it(tmp_path):
    series = series_with(tmp_path / "Schulz")
    assert f"in '{tmp_path / 'Schulz'}'" in series.title
    path = next((tmp_path / "Schulz").iterdir())
    assert series.shown(str(path)) == f"the DICOM file '{path}'"


def test_elements_of_the_patient_that_cannot_be_read_are_left_empty_in_a_segmentation(tmp_path):
    write_multiframe(tmp_path / "image", np.ones(SHAPE, int), GEOMETRY)
    with_element(tmp_path / "image", NAME, b"XX")
    with_element(tmp_path / "image", ID, b"FD")
    (series,) = series_of([read_header(str(tmp_path / "image"))])
    assert series.headers[0].patient_id == ""
    seg, notes = written(tmp_path, series)
    assert (str(seg.PatientName), seg.PatientID or "") == ("", "")
    assert notes == ["Left empty, because the images have values that DICOM does not allow: PatientID, PatientName."]
