"""Fits decoders offline and exports each to one ONNX file."""
