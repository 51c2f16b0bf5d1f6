"""Features of slices, learned without labels: an autoencoder and a masked autoencoder."""
