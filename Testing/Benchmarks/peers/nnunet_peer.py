"""nnU-Net v2 (3d_fullres, its own defaults) on a raw dataset, trained for a given wall time on the CPU.

Run by `nnunet.py` in an environment of its own, because nnU-Net's dependencies would replace this project's torch:

    python nnunet_peer.py RAW/Dataset501_Name IMAGES OUT --seconds 600 --seed 0

Network, loss with ignore label, augmentation, optimiser and first learning rate are nnU-Net's. Only the loop is ours:
its poly schedule runs over the wall time instead of over 250,000 steps, and nothing is validated on the way. The
trainer is nnU-Net's own class and no other, because looking for others by name imports packages that are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    work = options.out / "work"
    # nnU-Net reads these when it is imported.
    os.environ.update(
        OMP_NUM_THREADS=str(options.threads),
        CUDA_VISIBLE_DEVICES="",
        MPLBACKEND="agg",
        nnUNet_raw=str(options.dataset.resolve().parent),
        nnUNet_preprocessed=str(work / "preprocessed"),
        nnUNet_results=str(work / "results"),
        nnUNet_compile="f",
        nnUNet_n_proc_DA="1",
        nnUNet_def_n_proc=str(options.threads),
    )
    (work / "preprocessed").mkdir(parents=True, exist_ok=True)
    _preprocess(int(options.dataset.name[7:10]))
    # Augmentation in this process, where the seed reaches it.
    os.environ.update(nnUNet_n_proc_DA="0")
    model, figures = _train(work / "preprocessed" / options.dataset.name, options)
    _predict(model, options)
    (options.out / "run.json").write_text(json.dumps(figures))


def _preprocess(number: int) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet

    nnunet.extract_fingerprint_dataset(number, num_processes=1, check_dataset_integrity=True)
    nnunet.plan_experiment_dataset(number)
    nnunet.preprocess_dataset(number, configurations=("3d_fullres",), num_processes=(1,))


def _train(folder: Path, options: argparse.Namespace) -> tuple[str, dict]:
    import numpy as np
    import torch
    from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(options.seed)
    plans = json.loads((folder / "nnUNetPlans.json").read_text()) | {"continue_training": False}
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "3d_fullres", "all", dataset, torch.device("cpu"))
    trainer.on_train_start()
    torch.set_num_threads(options.threads)
    trainer.lr_scheduler = PolyLRScheduler(trainer.optimizer, trainer.initial_lr, options.seconds)
    trainer.network.train()
    losses, longest, start = [], 0.0, time.monotonic()
    while (now := time.monotonic() - start) + longest < options.seconds:
        trainer.lr_scheduler.step(now)
        losses.append(float(trainer.train_step(next(trainer.dataloader_train))["loss"]))
        longest = max(longest, time.monotonic() - start - now)
    trainer.current_epoch = 1
    trainer.on_train_end()
    figures = {
        "iterations": len(losses),
        "seconds": time.monotonic() - start,
        "patch": [int(n) for n in trainer.configuration_manager.patch_size],
        "batch": trainer.batch_size,
        "last_loss": float(np.mean(losses[-20:])),
    }
    return trainer.output_folder_base, figures


def _predict(model: str, options: argparse.Namespace) -> None:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    device = torch.device("cpu")
    predictor = nnUNetPredictor(perform_everything_on_device=False, device=device, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(model, ("all",), "checkpoint_final.pth")
    for path in sorted(options.images.glob("*_0000.nii.gz")):
        name = path.name.removesuffix("_0000.nii.gz")
        predictor.predict_from_files_sequential([[str(path)]], [str(options.out / name)], overwrite=True)


if __name__ == "__main__":  # nnU-Net's preprocessing starts processes that import this file
    sys.exit(main())
