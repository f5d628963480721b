"""Datasets without TensorFlow: sources, decoding, splits, checks and the image cache."""
