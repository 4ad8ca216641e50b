"""Train a network, keep checkpoints of it, score it, and measure what it costs."""
