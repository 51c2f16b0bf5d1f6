"""The modality of each channel of a cohort, such as CT or MR, as DICOM abbreviates it.

CT is the one that changes how intensities are used: they are Hounsfield units, which mean the same in every scan, so
all cases are scaled alike. Images of other modalities have no unit, and each is scaled by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .case_names import normal_name
from .errors import BadInputError
from .messages import _

CT = "CT"
CT_WINDOW = (-1000.0, 1000.0)
"""Hounsfield units, from air to dense bone, that become 0 to 1 where no structure has been drawn yet."""

_MODALITY = re.compile(r"[A-Z][A-Z0-9]{1,15}")


def check_modalities(modalities: Mapping[str, str], channels: Sequence[str]) -> dict[str, str]:
    """Modalities by the channel's name, '' for images that are no channels with names, in capital letters.

    Raises BadInputError when there is no such channel, or a modality is not written as in DICOM.
    """
    found = {}
    for channel, modality in modalities.items():
        if channel not in (channels or ("",)):
            raise BadInputError(
                _(
                    "The modality {modality} is given for the channel '{channel}', but the channels are: {known}."
                ).format(modality=modality, channel=channel, known=", ".join(channels) or _("none with a name"))
            )
        text = modality.strip().upper()
        if not is_modality(text):
            raise BadInputError(
                _("'{text}' is not a modality. Write it as DICOM does, for example CT, MR or PT.").format(text=modality)
            )
        found[channel] = text
    return found


def is_modality(text: str) -> bool:
    """Whether a text is an abbreviation as DICOM has them, in capital letters."""
    return bool(_MODALITY.fullmatch(text))


def modalities_by_name(channels: Sequence[str], named: Sequence[str] = ()) -> dict[str, str]:
    """CT for each channel that is called so, as in nnU-Net and the Medical Segmentation Decathlon.

    Args:
        channels: as the cohort calls them. named: as the other program does, one for each; by default the same.
    """
    pairs = zip(channels or ("",), named or channels, strict=False)
    return {channel: CT for channel, name in pairs if name.strip().casefold() == CT.casefold()}


def parsed_modalities(items: Sequence[str], channels: Sequence[str]) -> dict[str, str]:
    """Modalities given as CHANNEL=MODALITY, or by MODALITY alone where there are no several channels.

    Raises BadInputError when one of them cannot be used, or is given twice.
    """
    given: dict[str, str] = {}
    for item in items:
        channel, sign, modality = item.rpartition("=")
        if len(channels) > 1 and not sign:
            raise BadInputError(
                _("Say which channel has the modality {modality}, for example '{channel}={modality}'.").format(
                    modality=item, channel=channels[0]
                )
            )
        name = normal_name(channel.strip()) if sign else (channels or ("",))[0]
        if name in given:
            raise BadInputError(
                _("Two modalities are given for the channel '{name}'.").format(name=name)
                if name
                else _("Two modalities are given. Give one.")
            )
        given[name] = modality
    return check_modalities(given, channels)


def require_same_modalities(known: Mapping[str, str], given: Mapping[str, str], cohort: str, file: str) -> None:
    """Raise BadInputError when a channel of a `cohort` with cases has another modality than is given.

    `file`: the name of the file in which it can be changed.
    """
    for channel, modality in given.items():
        if known.get(channel, "") != modality:
            what = _("The channel '{name}'").format(name=channel) if channel else _("The image")
            raise BadInputError(
                _(
                    "{what} has the modality {own} in the cohort '{cohort}', not {modality}. Leave out '--modality', "
                    "or change 'modalities' in '{file}'."
                ).format(what=what, own=known.get(channel) or _("(none)"), cohort=cohort, modality=modality, file=file)
            )
