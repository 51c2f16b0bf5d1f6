"""From a trained run to labels: sliding windows, ensembles, uncertainty, clean-up."""
