"""What trials leave in the artifacts folder: learning curves, checkpoints, the best models."""
