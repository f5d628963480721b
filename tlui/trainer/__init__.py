import os

# Of NumPy's and SciPy's, read when they are imported: TensorFlow multiplies matrices here, and
# OpenBLAS's threads would only wait, which they do by spinning.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
