"""The registry of losses: what is known about each without torch. The parts are in `runs.losses`."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.messages import _
from ..core.registry import Entry, Need, Registry

DEFAULT_LOSS = "dice_ce"


@dataclass(frozen=True, kw_only=True)
class LossEntry(Entry):
    """A loss as users choose it.

    `make` is its formula: it takes the supervised voxels of a batch (`learning.training.losses.SupervisedVoxels`) and
    returns a scalar tensor.
    """

    @property
    def needs_distances(self) -> bool:
        """True when each voxel's signed distance to the structures' boundaries must be known."""
        return Need.DISTANCES in self.needs

    @property
    def needs_class_weights(self) -> bool:
        """True when it weights the classes."""
        return Need.CLASS_WEIGHTS in self.needs


LOSSES: Registry[LossEntry] = Registry(_("There is no loss '{name}'; choose one of {names}."), f"{__package__}.losses")
