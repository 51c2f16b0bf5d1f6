"""The training of Zheng et al. 2020, AAAI ('An annotation sparsification strategy ...').

Quoted from its implementation details unless another source is named; 'Yu 2017' is the network's paper, the
'backbone in all our experiments' (table 1), and the code of its authors. The documentation lists what differs.
"""

from __future__ import annotations

from ...core.messages import _
from ..presets import NEVER, NO_LIMIT, PRESETS, PresetEntry
from ..settings import AugmentationSettings, TrainingSettings

PRESETS.add(
    PresetEntry(
        name="zheng2020",
        label=_("Zheng 2020"),
        description=_(
            "The training of Zheng 2020, step by step: DenseVoxNet in 2D and 3D, and a Y-shaped one that learns from "
            "their pseudo-labels. Needs a GPU; on a CPU it is much shortened."
        ),
        make=TrainingSettings,
        recipe="self_training",
        iterations=15_000,  # Yu 2017; Zheng 2020 gives only that 2D models have more than 10,000
        iterations_on_cpu=1000,
        order=10,
        changes={
            # Table 1 and figure 4. The 2D network is not named; it, too, has dense blocks and deep supervision.
            "network": "dense_vox_net",
            "network_2d": "dense_vox_net",
            "network_final": "y_shaped_dense_vox_net",
            "auxiliary_weight": 0.33,  # 'deep supervision' in 2D and 3D (section 2); the weight: Yu 2017
            "dropout": 0.2,  # Yu 2017
            "patch": (64, 64, 64),  # Yu 2017
            "batch": 3,  # Yu 2017
            "loss": "ce",  # eq. 1, 2 and 9
            "optimizer": "adam",
            "learning_rate": 5e-4,
            "optimizer_eps": 1e-10,
            "weight_decay": 0.0,
            "largest_gradient": NO_LIMIT,
            "initialization": "gaussian",  # 3D base model and meta-model: mean 0, standard deviation 0.01
            "initialization_2d": "he",
            "schedule": "poly",
            "poly_power": 0.9,
            "schedule_2d": "step",  # to 5e-5 after 10,000 iterations
            "step_at": (10_000,),
            "step_factor": 0.1,
            "warm_up": 0.0,
            "patience": NEVER,
            "validation_share": 0.0,  # every annotated slice is learned from, and all pseudo-labels count the same
            "foreground_share": 0.0,  # 'randomly chooses a stack and a plane, and crops a patch'
            "drawn_weight": 1.0,  # eq. 9 has no weights
            "pseudo_label_target": "sets",
            # 'flipping along the axial planes and random rotation with 90, 180, and 270 degrees': each of the four
            # positions equally often.
            "augmentation": AugmentationSettings(flip=("A", "R"), right_angles=0.75, intensity=0.0),
            "normalisation": "z_score",  # 'zero mean and unit variance'
        },
    )
)
