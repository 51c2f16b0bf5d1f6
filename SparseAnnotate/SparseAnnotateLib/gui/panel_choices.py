"""The choices of the panel that no registry holds: their labels and descriptions by the names that the scene stores."""

from __future__ import annotations

from collections.abc import Iterable

from slicer.i18n import tr as _

from ..core.registry import Entry
from ..runs import AUTO

NO_RUN = ""
ANY_TARGET = "unknown"
DATASET, PREDICTIONS, BUNDLE, DICOM = "dataset", "predictions", "bundle", "dicom"


def budget_units() -> dict[str, Entry]:
    """The units of the budget."""
    return _by_name(
        _choice("percent", _("percent"), _("This share of the slices of each volume.")),
        _choice("slices", _("slices"), _("This number of slices in all volumes together.")),
        _choice(
            "minutes",
            _("minutes"),
            _("As many slices as fit into this time, estimated from your time per slice so far."),
        ),
    )


def panel_scopes() -> dict[str, Entry]:
    """The selection scopes that the panel offers."""
    return _by_name(
        _choice("plane", _("Each plane"), _("Each plane of each volume gets the same share of slices.")),
        _choice(
            "volume",
            _("Each volume"),
            _("The planes of a volume share its slices. With one plane, this is the same as 'Each plane'."),
        ),
        _choice(
            "cohort",
            _("Whole cohort"),
            _("Slices are chosen from all volumes together; a volume that resembles others gets fewer slices."),
        ),
    )


def plan_dimensions() -> dict[str, Entry]:
    """The kinds of models that a plan can be made for, by their dimensions."""
    return _by_name(
        _choice("3", _("3D model"), _("Needs a minimum number of slices in each volume.")),
        _choice("2", _("2D model"), _("Learns best from few slices in each of many volumes.")),
    )


def plan_targets() -> dict[str, Entry]:
    """How well the structure stands out for which a plan is made."""
    return _by_name(
        _choice(ANY_TARGET, _("not known"), _("The plan says what it assumes.")),
        _choice("clear", _("clear"), _("It stands out from what surrounds it.")),
        _choice("subtle", _("subtle"), _("It hardly stands out, such as a fresh stroke: 3D models need more slices.")),
    )


def starts() -> dict[str, Entry]:
    """What a slice can be initialized from."""
    return _by_name(
        _choice("nothing", _("nothing"), _("Draw on an empty slice.")),
        _choice(
            "nearest drawn slice",
            _("nearest drawn slice"),
            _("Correct the outlines of the nearest drawn slice in the same plane."),
        ),
        _choice("fill", _("fill"), _("Correct the outlines of the latest fill.")),
        _choice("prediction", _("prediction"), _("Correct the outlines of the latest result of a model.")),
    )


def devices(names: Iterable[str]) -> dict[str, Entry]:
    """Devices with these names; a name that PyTorch numbers, such as 'cuda:1', is part of the label."""
    known = {
        "auto": _choice("auto", _("Automatic"), _("The best device that works on this computer.")),
        "cpu": _choice("cpu", _("CPU"), _("Works on every computer; slower than a GPU.")),
        "mps": _choice("mps", _("Apple GPU"), _("The graphics processor of a Mac.")),
    }
    return _by_name(*(known.get(name) or _choice(name, *_other_device(name)) for name in names))


def runs_to_fill_with(names: Iterable[str]) -> dict[str, Entry]:
    """No run, and these: which one takes part in a fill."""
    none = _choice(NO_RUN, _("none"), _("Fill from the drawn slices and the image alone."))
    runs = [_choice(name, name, _("This model takes part, the more, the farther from drawn slices.")) for name in names]
    return _by_name(none, *runs)


def runs_to_share(names: Iterable[str]) -> dict[str, Entry]:
    """These runs: which one is written as a bundle."""
    return _by_name(*(_choice(name, name, _("Its 3D model is written.")) for name in names))


def share_formats() -> dict[str, Entry]:
    """What can be exchanged with other tools."""
    return _by_name(
        _choice(
            DATASET,
            _("nnU-Net dataset"),
            _("Export: the checked volumes with their drawn slices. Import: a new cohort."),
        ),
        _choice(PREDICTIONS, _("nnU-Net predictions"), _("Import: results for the checked volumes.")),
        _choice(BUNDLE, _("MONAI bundle"), _("Export: the 3D model of a run. Import: a run.")),
        _choice(DICOM, _("DICOM SEG"), _("Export: a segmentation of the active volume, for its DICOM series.")),
    )


def from_preset() -> Entry:
    """The choice that leaves the network or the loss to the preset and the device."""
    return _choice(AUTO, _("Automatic"), _("Chosen by the preset, to suit the device."))


def _other_device(name: str) -> tuple[str, str]:
    if name.startswith("cuda"):
        return _("GPU ({name})").format(name=name), _("A graphics processor with CUDA.")
    return name, _("The device of this name.")


def _choice(name: str, label: str, description: str) -> Entry:
    return Entry(name=name, label=label, description=description, make=name)


def _by_name(*choices: Entry) -> dict[str, Entry]:
    return {choice.name: choice for choice in choices}
