"""An example for each command, shown at the end of its help."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "create": (
        "sparse-annotate create livers scans/*.nii.gz --labels 1=liver 2=spleen",
        "sparse-annotate create livers patients --name-from parent",
        "sparse-annotate create livers dicom_export --series 'CT abdomen venous'",
    ),
    "add": (
        "sparse-annotate add livers new/*.nii.gz",
        "sparse-annotate add lesions t1_scans --channel T1=_t1 --first-channel FLAIR",
    ),
    "plan": ("sparse-annotate plan livers --minutes 90", "sparse-annotate plan livers --slices 5 --per volume"),
    "recommend": (
        "sparse-annotate recommend livers --density 0.05",
        "sparse-annotate recommend livers --slices 3 --per volume --planes coronal",
        "sparse-annotate recommend livers --more 40 --strategy uncertainty --runs first",
    ),
    "picture": ("sparse-annotate picture livers --path slices.png",),
    "draw": ("sparse-annotate draw livers",),
    "import-drawn": (
        "sparse-annotate import-drawn livers masks/*.nii.gz --planes axial",
        "sparse-annotate import-drawn livers masks/*.nii.gz --slices 10 20-24 40",
    ),
    "accept-image": ("sparse-annotate accept-image livers --cases patient17 patient18",),
    "fill": ("sparse-annotate fill livers", "sparse-annotate fill livers --run first --cases patient17"),
    "correct": ("sparse-annotate correct livers patient17 --structure liver --at -32.5 18 140",),
    "train": (
        "sparse-annotate train livers --run first --preset balanced",
        "sparse-annotate train livers --run first --plan-only",
        "sparse-annotate train livers --run first --on gpu --allow-copying",
    ),
    "curves": ("sparse-annotate curves livers --run first --path curves.png",),
    "slice": ("sparse-annotate slice livers patient17 --run live --plane axial --index 40",),
    "predict": (
        "sparse-annotate predict livers --run first",
        "sparse-annotate predict --run livers/runs/first -i scans -o labels --format nii.gz",
    ),
    "evaluate": (
        "sparse-annotate evaluate livers",
        "sparse-annotate evaluate livers --run first --tolerance 2 --csv figures.csv",
    ),
    "agreement": ("sparse-annotate agreement livers --runs first second",),
    "report": ("sparse-annotate report livers --out livers.html",),
    "export-dicom": (
        "sparse-annotate export-dicom livers --dicom scans --out segmentations --codes liver=SCT:10200004:Liver",
        "sparse-annotate export-dicom livers --dicom scans --run first --out segmentations",
    ),
    "export-nnunet": ("sparse-annotate export-nnunet livers --folder nnUNet_raw/Dataset001_Livers",),
    "import-nnunet": (
        "sparse-annotate import-nnunet livers --folder nnUNet_raw/Dataset001_Livers",
        "sparse-annotate import-nnunet livers --folder nnUNet_raw/Dataset001_Livers --predictions out --run nnunet",
    ),
    "export-bundle": ("sparse-annotate export-bundle livers --run first --folder bundle",),
    "import-bundle": ("sparse-annotate import-bundle livers --run imported --folder bundle",),
    "submit": (
        "sparse-annotate submit train livers --run first --preset best --slurm-partition gpu --gpus 1 --hours 8",
        "sparse-annotate submit predict livers --run first --slurm-partition gpu --gpus 1 --cases-per-job 100",
        "sparse-annotate submit train livers --run first --engine local",
    ),
    "jobs": ("sparse-annotate jobs livers --watch",),
    "logs": ("sparse-annotate logs livers 3 --follow",),
    "cancel": ("sparse-annotate cancel livers 3 4",),
    "job": ("sparse-annotate job livers/jobs/3 --part 0",),
    "host": (
        "sparse-annotate host add gpu --prefix 'srun --gres=gpu:1 --time=2:00:00'",
        "sparse-annotate host clean gpu",
        "sparse-annotate host forget gpu livers --run first",
    ),
    "environment": ("sparse-annotate environment", "sparse-annotate environment --on gpu"),
}


def example_text(command: str) -> str:
    """The examples of a command as the end of its help; '' when it has none."""
    found = EXAMPLES.get(command, ())
    title = "example:" if len(found) == 1 else "examples:"
    return "\n".join([title, *(f"  {line}" for line in found)]) if found else ""
