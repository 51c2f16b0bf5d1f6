"""What slices look like, learned without labels: an autoencoder and a masked autoencoder."""
