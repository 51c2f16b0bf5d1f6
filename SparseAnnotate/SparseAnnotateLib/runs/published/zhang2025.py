"""The trainings of Zhang et al. 2025, MIDL ('How to select slices for annotation ...'), appendix G.

Three data sets, each in 2D and 3D. Chances of augmentations and sizes of patches are not given there; the patches of 3D
models are 64 x 64 x 64 voxels here, which leaves room for its large batches. Networks that this project does not have
are replaced by the nearest one; the documentation lists them. A tenth of the drawn slices is held out, where the paper
validates on other volumes; and the patches of LiTS17 that the paper places on 'background and unannotated voxels' may
be anywhere.
"""

from __future__ import annotations

from typing import Any

from ...core.messages import _
from ..presets import NEVER, NO_LIMIT, PRESETS, PresetEntry
from ..settings import AugmentationSettings, Recipe, TrainingSettings

_AFFINE, _ELASTIC, _BIAS_FIELD = 0.3, 0.1, 0.15  # as in the project's own presets
_BATCH_2D = 16  # 'for all datasets'
_PATCH = (64, 64, 64)


def _add(name: str, label: str, description: str, recipe: Recipe, iterations: int, order: int, **changes: Any) -> None:
    """Add a preset; none has a warm-up, an early stop, or a limit for gradients."""
    augmentation = AugmentationSettings(intensity=0.0, **changes.pop("augmentation"))
    common = {"warm_up": 0.0, "patience": NEVER, "largest_gradient": NO_LIMIT, "augmentation": augmentation}
    PRESETS.add(
        PresetEntry(
            name=name,
            label=label,
            description=description,
            make=TrainingSettings,
            recipe=recipe,
            iterations=iterations,
            iterations_on_cpu=1000,
            order=order,
            changes={**common, **changes},
        )
    )


_add(
    "zhang2025_lits_2d",
    _("Zhang 2025: liver tumors, 2D"),
    _("The 2D training of Zhang 2025 for liver tumors (LiTS17), with label values 1 for liver and 2 for tumor."),
    "2d",
    14_000,
    11,
    network_2d="basic_unet",  # Inception-UNet
    batch_2d=_BATCH_2D,
    loss="weighted_ce",
    class_weights=(0.04, 0.25, 1.4),  # background, liver, tumor
    optimizer="adamw",
    learning_rate=1e-4,
    weight_decay=1e-5,
    schedule="poly",
    poly_power=0.8,
    foreground_share=0.0,  # 'uniformly at random from the annotated slices'
    augmentation={"bias_field": _BIAS_FIELD, "elastic": _ELASTIC},
)
_add(
    "zhang2025_lits_3d",
    _("Zhang 2025: liver tumors, 3D"),
    _("The 3D training of Zhang 2025 for liver tumors (LiTS17), with label values 1 for liver and 2 for tumor."),
    "3d",
    18_000,
    12,
    network="basic_unet",  # 3D U-Net (Cicek 2016)
    patch=_PATCH,
    batch=24,
    loss="weighted_ce",
    class_weights=(0.04, 0.2, 1.0),
    optimizer="sgd",
    learning_rate=0.01,
    weight_decay=1e-4,
    momentum=0.9,
    schedule="hold",  # 'without any learning rate scheduling'
    cool_down=0.0,
    class_shares={1: 0.5, 2: 0.3},  # liver, tumor
    undrawn_share=0.2,  # 'background and unannotated voxels combined'
    patch_placing="on",
    augmentation={"bias_field": _BIAS_FIELD, "affine": _AFFINE},
)
_add(
    "zhang2025_dbc_2d",
    _("Zhang 2025: breast, 2D"),
    _("The 2D training of Zhang 2025 for the breast or its fibroglandular tissue (DBC)."),
    "2d",
    12_000,
    13,
    network_2d="swin_unetr",  # SegFormer-B3 with pretrained weights
    batch_2d=_BATCH_2D,
    loss="ce",
    optimizer="adamw",
    learning_rate=1e-4,
    weight_decay=1e-2,
    schedule="poly",
    poly_power=0.8,
    foreground_share=0.0,
    augmentation={},
)
_add(
    "zhang2025_dbc_3d",
    _("Zhang 2025: breast, 3D"),
    _("The 3D training of Zhang 2025 for the breast or its fibroglandular tissue (DBC)."),
    "3d",
    12_000,
    14,
    network="segresnet",
    patch=_PATCH,
    batch=24,
    loss="ce",
    optimizer="adamw",
    learning_rate=3e-4,
    weight_decay=1e-5,
    schedule="cosine",
    foreground_share=0.0,
    undrawn_share=1.0,  # 'randomly sampled from the full volume'
    augmentation={"affine": _AFFINE},
)
_add(
    "zhang2025_atlas_2d",
    _("Zhang 2025: stroke lesions, 2D"),
    _("The 2D training of Zhang 2025 for stroke lesions (ATLAS)."),
    "2d",
    15_000,
    15,
    network_2d="attention_unet",  # CAM-WNet with pretrained weights
    batch_2d=_BATCH_2D,
    loss="dice_ce",
    optimizer="adamw",
    learning_rate=5e-5,
    weight_decay=1e-5,
    schedule="step",
    step_at=tuple(range(2000, 15_000, 2000)),
    step_factor=0.7,
    foreground_share=0.0,
    augmentation={},
)
_add(
    "zhang2025_atlas_3d",
    _("Zhang 2025: stroke lesions, 3D"),
    _("The 3D training of Zhang 2025 for stroke lesions (ATLAS), with label value 1 for lesions."),
    "3d",
    15_000,
    16,
    network="unetr",
    patch=_PATCH,
    batch=54,
    loss="dice_focal",
    optimizer="adamw",
    learning_rate=1.5e-4,
    weight_decay=1e-6,
    schedule="step",
    step_at=tuple(range(3000, 15_000, 3000)),
    step_factor=0.7,
    class_shares={0: 0.3, 1: 0.55},  # background, lesion
    undrawn_share=0.15,
    undrawn_only=True,
    patch_placing="on",
    augmentation={"affine": _AFFINE},
)
