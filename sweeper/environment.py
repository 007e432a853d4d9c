"""What the environment holds for other programs: it must not reach a run, its rows or what it prints.

A notebook names a backend of matplotlib that exists only there, an image of a GPU's maker lowers the precision of every
product, a colleague's shell has libraries print what they do. Limits stay (numbers of threads, devices, memory), as do
proxies, certificates, caches and whatever names sweeper or a cluster's Ray.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

OF_OTHERS = (
    # figures: their style is a file of ours
    "MPLBACKEND", "MATPLOTLIBRC",
    # numbers: the precision of products is a field of a cell, and rows are the same bits on one kind of processor
    "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TORCH_BLAS_PREFER_CUBLASLT", "ATEN_CPU_CAPABILITY",
    "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA",
    "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "MKL_DEBUG_CPU_TYPE", "NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES",
    # tables: how pandas and SciPy take arrays
    "PANDAS_FUTURE_INFER_STRING", "PANDAS_COPY_ON_WRITE", "PANDAS_DATA_MANAGER", "SCIPY_ARRAY_API",
    # placement: each of several workers would be bound to the first core
    "OMP_PROC_BIND", "OMP_PLACES", "OMP_DYNAMIC", "OMP_WAIT_POLICY", "OMP_SCHEDULE", "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    # debugging, much of which is printed among results
    "OMP_DISPLAY_ENV", "OMP_DISPLAY_AFFINITY", "KMP_SETTINGS", "KMP_VERSION", "MKL_VERBOSE", "ONEDNN_VERBOSE",
    "DNNL_VERBOSE", "OPENBLAS_VERBOSE", "TORCH_LOGS", "TORCH_LOGS_OUT", "TORCH_TRACE", "TORCH_CPP_LOG_LEVEL",
    "TORCH_SHOW_CPP_STACKTRACES", "PYTORCH_NO_CUDA_MEMORY_CACHING", "CUDA_LAUNCH_BLOCKING", "CUBLAS_LOGDEST_DBG",
    "CUDNN_LOGDEST_DBG", "NCCL_DEBUG", "GRPC_VERBOSITY", "GRPC_TRACE", "RAY_LOG_TO_STDERR", "RAY_BACKEND_LOG_LEVEL",
)  # fmt: skip
PREFIXES_OF_OTHERS = ("TUNE_",)  # another program's settings of Ray Tune; ours are set when it starts


def forget_others() -> None:
    """Leave it out of this process, before the libraries that would read it are loaded, and of those it starts.

    Nor does a warning of a library end a run where the environment asks for that.
    """
    for name in [name for name in os.environ if name in OF_OTHERS or name.startswith(PREFIXES_OF_OTHERS)]:
        del os.environ[name]
    asked = os.environ.pop("PYTHONWARNINGS", "").split(",")
    if kept := [each for each in asked if each.strip() and not each.strip().startswith("error")]:
        os.environ["PYTHONWARNINGS"] = ",".join(kept)
    warnings.filters[:] = [each for each in warnings.filters if each[0] != "error"]  # type: ignore[index]


def load_matplotlib() -> None:
    """Import matplotlib with its own settings: those of the current folder and of the user come before, and may be
    of another version, or unreadable. One that is imported already stays as it is.
    """
    if "matplotlib" in sys.modules:
        return
    data = Path(find_spec("matplotlib").origin or "").parent / "mpl-data"  # type: ignore[union-attr]
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # of fonts and caches
    try:
        before = os.getcwd()
    except OSError:  # the folder is gone
        before = ""
    os.chdir(data)  # where it looks first
    try:
        import matplotlib  # noqa: F401
    finally:
        if before:
            os.chdir(before)
