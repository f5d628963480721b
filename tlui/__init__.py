"""tlui: a terminal experiment manager for transfer learning with TensorFlow/Keras."""

__version__ = "0.1.0"
