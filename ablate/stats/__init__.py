"""Statistics as pure functions: arrays in, numbers out. Numpy and scipy alone, nothing of ablate."""
