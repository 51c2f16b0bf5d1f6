"""One run from its plan to its weights: objectives and losses, the trainer, validation, pseudo-labels."""
