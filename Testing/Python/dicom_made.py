"""DICOM series that tests write: whole ones, and ones with a quirk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SparseAnnotateLib.core import VolumeGeometry

CT, MR, SECONDARY_CAPTURE, ULTRASOUND = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.4",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.6.1",
)
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
PATIENT = "Müller^Annegret"


def oblique(shape, spacing=(2.5, 0.8, 0.7)) -> VolumeGeometry:
    """A grid that is turned about all axes, with other spacing (K, J, I) along each, (K, J, I) voxels."""
    a, b, c = 0.3, -0.2, 0.5
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    direction = turn_z @ turn_y @ turn_x
    return VolumeGeometry.from_itk(shape[::-1], spacing[::-1], (-31.25, 18.5, -140.125), direction)


def image_headers(shape, geometry: VolumeGeometry, modality: str = "CT", **elements) -> list[Dataset]:
    """Headers of single images, one for each slice of a grid, in the order of K."""
    spacing, origin, direction = geometry.to_itk()
    axes = np.array(direction).reshape(3, 3)
    study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
    found = []
    for k in range(shape[0]):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SpecificCharacterSet = "ISO_IR 100"
        dataset.SOPClassUID = CT if modality == "CT" else MR
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.FrameOfReferenceUID = frame_of_reference
        dataset.Modality = modality
        dataset.PatientName, dataset.PatientID = PATIENT, "4711-X"
        dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20240102", "101112", "7", "A"
        dataset.SeriesDescription, dataset.SeriesNumber, dataset.InstanceNumber = "abdomen venous", 3, k + 1
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.ImageOrientationPatient = [f"{x:.12f}"[:16] for x in (*axes[:, 0], *axes[:, 1])]
        position = np.array(origin) + axes[:, 2] * spacing[2] * k
        dataset.ImagePositionPatient = [f"{x:.10f}"[:16] for x in position]
        dataset.PixelSpacing = [spacing[1], spacing[0]]
        dataset.Rows, dataset.Columns = shape[1:]
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        found.append(dataset)
    return found


def write_series(folder: Path, voxels: np.ndarray, geometry: VolumeGeometry, change=None, **elements) -> list[Dataset]:
    """Write a series of single images, with the values of `voxels` (K, J, I) in Hounsfield units, in mixed order.

    `change` is called with the headers before they are written, and may change, add or remove some.
    """
    headers = image_headers(voxels.shape, geometry, **elements)
    for k, dataset in enumerate(headers):
        dataset.PixelData = (voxels[k].astype(np.int64) + 1024).astype("<i2").tobytes()
    if change is not None:
        headers = change(headers) or headers
    folder.mkdir(parents=True, exist_ok=True)
    for number, dataset in enumerate(headers):
        # The names say nothing about the order.
        save(folder / f"IM{(number * 7919) % 10007:05d}", dataset)
    return headers


def write_multiframe(path: Path, voxels: np.ndarray, geometry: VolumeGeometry, order=None) -> Dataset:
    """Write an enhanced MR image with a frame for each slice, in the given order of K."""
    singles = image_headers(voxels.shape, geometry, modality="MR")
    dataset = singles[0]
    dataset.SOPClassUID, dataset.NumberOfFrames = ENHANCED_MR, len(voxels)
    dataset.PixelRepresentation = 0
    frames = []
    order = list(range(len(voxels))) if order is None else order
    for k in order:
        frame, place, content, values = Dataset(), Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = singles[k].ImagePositionPatient
        content.StackID, content.InStackPositionNumber = "1", int(k) + 1
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 2, int(k), "US"
        frame.PlanePositionSequence, frame.FrameContentSequence = Sequence([place]), Sequence([content])
        frame.PixelValueTransformationSequence = Sequence([values])
        frames.append(frame)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = dataset.PixelSpacing, 2.5
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([orientation]), Sequence([measures])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(dataset, keyword)
    del dataset.RescaleIntercept
    dataset.PixelData = voxels[order].astype("<u2").tobytes()
    save(path, dataset)
    return dataset


def save(path: Path, dataset: Dataset) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
