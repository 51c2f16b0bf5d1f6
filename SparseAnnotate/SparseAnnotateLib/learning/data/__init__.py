"""From a cohort to batches: training cases, patches, augmentation."""
