"""What a cohort folder knows of a case at some moment, to see whether another process has changed it since."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from .cohort import Cohort
from .errors import BadInputError
from .ledger import Ledger, SliceState
from .messages import _, listed
from .strict_json import parse_json, to_text

_MOST_NAMED = 6


@dataclass(frozen=True)
class CaseState:
    """Checksums of what the files of a case say, and the slices that were to do in them.

    Attributes:
        decided: of the drawn and empty slices in the ledger. files: of the labels, undecided voxels and corrections.
        to_do: the slices to do, as text.
    """

    decided: str = ""
    files: str = ""
    to_do: str = ""

    @classmethod
    def of(cls, cohort: Cohort, case: str) -> CaseState:
        """The state of a case in a cohort folder now. Raises BadInputError when its ledger is damaged."""
        ledger = cohort.ledger(case)
        _ledger, *files = cohort.annotation_files(case)
        content = " ".join(_checksum_of_file(path) for path in files)
        return cls(_checksum(_decided(ledger)), content, to_do_text(ledger))


def to_do_text(ledger: Ledger) -> str:
    """The slices to do in a ledger, as text."""
    return to_text(Ledger(tuple(ledger.todo)))


def with_changes_elsewhere(case: str, own: Ledger, before: CaseState, cohort: Cohort) -> Ledger:
    """Our ledger of a case, with the slices that others have recommended in the cohort folder since.

    Args:
        before: the state of the folder when it was last read or written here.

    Raises BadInputError when slices were drawn or cleared, or something was corrected, elsewhere since.
    """
    now = CaseState.of(cohort, case)
    theirs = cohort.ledger(case)
    own = _with_skipped(own, theirs)
    if now.decided != before.decided or now.files != before.files:
        changed = [
            f"{entry.plane.value} {entry.index}"
            for entry in theirs.decided
            if not own.is_decided(entry.plane, entry.index)
        ]
        what = listed(changed, _MOST_NAMED) if changed else _("slices that are drawn here, too, or corrections")
        raise BadInputError(
            _(
                "The case '{case}' was changed elsewhere since it was opened here ({what}), so what is drawn here was "
                "not written to '{folder}'. It is still in this scene. To see the other changes, remove the volume "
                "from the scene and open the case again."
            ).format(case=case, what=what, folder=cohort.folder)
        )
    if now.to_do == before.to_do:
        return own
    known_before = {entry.key for entry in parse_json(before.to_do, Ledger, _("the slices to do")).entries}
    # One that was skipped here, and recommended elsewhere since, is to do.
    again = {entry.key for entry in theirs.todo if entry.key not in known_before}
    kept = [
        entry
        for entry in own.entries
        if entry.state is not SliceState.TODO and (entry.state.is_decided or entry.key not in again)
    ]
    # Recommended both here and elsewhere: all of them.
    kept += [entry for entry in own.todo if entry.key not in known_before]
    known = {entry.key for entry in kept}
    not_decided = [entry for entry in theirs.entries if not entry.state.is_decided]
    return Ledger((*kept, *(entry for entry in not_decided if entry.key not in known)))


def _with_skipped(own: Ledger, theirs: Ledger) -> Ledger:
    """Our ledger with the slices that are skipped in the folder, and are to do, or not in the ledger, here."""
    entries = {entry.key: entry for entry in own.entries}
    for entry in theirs.entries:
        if entry.state is SliceState.SKIPPED and entry.key not in entries:
            entries[entry.key] = entry
    return Ledger(tuple(entries.values())) if len(entries) > len(own.entries) else own


def _decided(ledger: Ledger) -> str:
    return to_text(Ledger(tuple(replace(entry, order=0) for entry in ledger.decided)))


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _checksum_of_file(path: Path) -> str:
    try:
        return f"{zlib.crc32(path.read_bytes()):08x}"
    except FileNotFoundError:
        return "-"
    except OSError as error:
        raise BadInputError(
            _("The file '{path}' cannot be read ({reason}).").format(path=path, reason=error.strerror)
        ) from error
