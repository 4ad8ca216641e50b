"""Trained networks as files for other programs and machines: packed weights, ONNX, C."""
