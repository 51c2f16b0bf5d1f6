"""The channels of a cohort: one to eight images of each case on one grid, such as FLAIR and T1, or PET and CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .case_names import check_name, file_stem, normal_name, usable_case_name
from .decathlon import case_name
from .errors import BadInputError
from .geometry import VolumeGeometry
from .images import read_geometry
from .messages import _, listed

MOST_CHANNELS = 8
_SEPARATORS = "_-. "


def check_channels(names: Sequence[str]) -> tuple[str, ...]:
    """The names of channels in their normal form.

    Raises BadInputError when there are more than eight, or a name is empty, used twice, or cannot be part of a path.
    """
    found = tuple(normal_name(str(name).strip()) for name in names)
    if len(found) > MOST_CHANNELS:
        raise BadInputError(
            _("A case can have at most {most} channels, not {count} ({names}). Leave some out.").format(
                most=MOST_CHANNELS, count=len(found), names=", ".join(found)
            )
        )
    for name in found:
        check_name(name, _("A channel"))
        if sum(name.casefold() == other.casefold() for other in found) > 1:
            raise BadInputError(_("Two channels are named '{name}'. Give each its own name.").format(name=name))
    return found


def usable_channels(names: Sequence[str]) -> tuple[str, ...]:
    """Names of channels close to those that another program has written, such as 'T2*'; equal ones are numbered.

    Raises BadInputError when there are more than eight.
    """
    plain = [usable_case_name(name) if name.strip(" .") else _("channel") for name in names]
    folded = [name.casefold() for name in plain]
    numbered = [
        f"{name} {folded[: place + 1].count(folded[place])}" if folded.count(folded[place]) > 1 else str(name)
        for place, name in enumerate(plain)
    ]
    return check_channels(numbered)


def channel_folder(channel: str) -> str:
    """The folder in a cohort folder for the images of a further channel."""
    return f"channels/{file_stem(channel)}"


def parsed_channels(items: Sequence[str]) -> dict[str, str]:
    """Channels given as NAME=ENDING, or by NAME alone: name to the ending of its files' names, '' where none is given.

    Raises BadInputError for names that cannot be used, an ending given twice, or endings for some channels only.
    """
    parts = [item.partition("=") for item in items]
    names = check_channels([name for name, _sign, _ending in parts])
    endings = [ending.strip() for _name, _sign, ending in parts]
    if any(endings) and not all(endings):
        raise BadInputError(
            _(
                "Give the ending of the file names for each channel, for example FLAIR=_flair T1=_t1, or for none, if "
                "each image file has all channels (4D)."
            )
        )
    if any(endings) and len(set(endings)) < len(endings):
        raise BadInputError(_("Two channels have files that end in '{ending}'.").format(ending=max(endings)))
    return dict(zip(names, endings, strict=True))


def grouped_by_channel(paths: Sequence[str], endings: Mapping[str, str]) -> dict[tuple[str, str], dict[str, str]]:
    """The files of each case: (folder, name) of the case to channel to file, in the order of the first files.

    A file belongs to the channel that its name, without the ending of the image format, ends with; the rest is the name
    of the case, '' when nothing is left. Files that belong to none are left out.

    Raises BadInputError when a case has two files of one channel.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    by_length = sorted(endings.items(), key=lambda item: -len(item[1]))
    for path in paths:
        stem = case_name(path)
        for channel, ending in by_length:
            if stem.endswith(ending) or stem == ending.lstrip(_SEPARATORS):
                rest = stem[: -len(ending)] if stem.endswith(ending) else ""
                files = found.setdefault((str(Path(path).absolute().parent), rest.rstrip(_SEPARATORS)), {})
                if channel in files:
                    raise BadInputError(
                        _("'{path}' and '{other}' are both the channel '{channel}' of one case.").format(
                            path=path, other=files[channel], channel=channel
                        )
                    )
                files[channel] = path
                break
    return found


def volume_of_channel(own: str, own_channel: str, channel: str, others: Sequence[str]) -> str | None:
    """The name among `others` that looks like another channel of an image; None where none does, or several do.

    It contains the name of the channel, and is otherwise the same: of 'p1_FLAIR' the channel T1 is 'p1_T1', and of 'p1'
    it is 'p1 t1'. Upper and lower case, and what separates words, do not count.

    Args:
        own: the name of the image. own_channel: the name of its channel, '' if it has none.
    """
    wanted = {_words(own), _words(own, own_channel)}
    found = [name for name in others if channel.casefold() in name.casefold() and _words(name, channel) in wanted]
    return found[0] if channel and len(found) == 1 else None


def _words(name: str, left_out: str = "") -> tuple[str, ...]:
    """The words of a name in lower case; without what is left out, where it stands last."""
    before, _found, after = name.casefold().rpartition(left_out.casefold()) if left_out else (name.casefold(), "", "")
    text = "".join(" " if character in _SEPARATORS else character for character in f"{before} {after}")
    return tuple(text.split())


def missing_channels(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The channels that are wanted, and not among the names; upper and lower case count."""
    return [name for name in wanted if name not in names]


def fill_without_channels(case: str, missing: Sequence[str]) -> list[str]:
    """A sentence for the user of a fill on the channels that a case lacks, if it lacks some."""
    if not missing:
        return []
    return [
        _("'{case}' has no image of {channels}, so it was filled without.").format(
            case=case, channels=listed([f"'{channel}'" for channel in missing], MOST_CHANNELS)
        )
    ]


def stacked(channels: list[np.ndarray]) -> np.ndarray:
    """Images (K, J, I) as one array (C, K, J, I) of a type that holds all of them; the list is emptied, for memory."""
    found = np.empty((len(channels), *channels[0].shape), dtype=np.result_type(*channels))
    for place in reversed(range(len(channels))):
        found[place] = channels.pop()
    return found


def require_grid_of_channel(path: str | Path, geometry: VolumeGeometry) -> None:
    """Raise BadInputError when the image of a further channel has another grid than the first channel's `geometry`.

    The same voxels with flipped or swapped axes are accepted.
    """
    own = read_geometry(path)
    _turned(np.broadcast_to(np.uint8(0), own.shape), own, geometry, path)


def on_grid_of_channels(
    array: np.ndarray, own: VolumeGeometry, geometry: VolumeGeometry, path: str | Path
) -> np.ndarray:
    """A (K, J, I) image of a further channel, turned to the grid of the first if it is stored with other axes.

    Raises BadInputError when it lies on another grid.
    """
    return np.ascontiguousarray(_turned(array, own, geometry, path))


def resampled_to_channel(array: np.ndarray, own: VolumeGeometry, geometry: VolumeGeometry) -> np.ndarray:
    """A (K, J, I) image on the grid `geometry`, by linear interpolation; float32, with its minimum where it ends.

    Raises BadInputError when it covers no voxel of the grid.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    spacing, origin, direction = own.to_itk()
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    spacing, origin, direction = geometry.to_itk()
    filtered = sitk.ResampleImageFilter()
    filtered.SetSize(geometry.shape[::-1])
    filtered.SetOutputSpacing(spacing)
    filtered.SetOutputOrigin(origin)
    filtered.SetOutputDirection(direction)
    filtered.SetInterpolator(sitk.sitkLinear)
    filtered.SetDefaultPixelValue(float("nan"))
    found: np.ndarray = sitk.GetArrayFromImage(filtered.Execute(image))
    outside = np.isnan(found)
    if outside.all():
        raise BadInputError(_("The image lies outside of the first channel's image."))
    found[outside] = np.float32(array.min())
    return found


def _turned(array: np.ndarray, own: VolumeGeometry, geometry: VolumeGeometry, path: str | Path) -> np.ndarray:
    if not own.difference_from(geometry):
        return array
    turned = geometry.with_same_voxels(array, own)
    if turned is None:
        raise BadInputError(
            _(
                "'{path}' does not lie on the grid of the first channel: {difference}. Resample it to that image first."
            ).format(path=path, difference=own.difference_from(geometry))
        )
    return turned
