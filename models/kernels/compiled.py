"""The C files of this folder, compiled for this machine when first needed. Without a compiler torch does the same, more
slowly.

The library is kept in the cache folder under the digest of its source, the compiler's version and the processor's
features: it takes a second once, and workers and later runs find it. `SWEEPER_CC` names another compiler than `cc`,
`gcc` or `clang`; if it is empty, none is used.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import suppress
from ctypes import c_float, c_int64, c_void_p
from functools import cache
from pathlib import Path

from models.data.sources import cache_folder

FOLDER = Path(__file__).parent
_NAMES = ("elementwise", "activations", "convolution", "perceptron", "lstm", "bfloat16", "bfloat16_perceptron")
SOURCES = [FOLDER / f"{name}.c" for name in _NAMES]
HEADERS = [FOLDER / f"{name}.h" for name in ("functions", "map", "sgemm", "bfloat16")]
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-shared", "-fPIC")
NATIVE = (
    ("-march=native", "-mprefer-vector-width=512") if platform.machine() in ("x86_64", "AMD64") else ("-mcpu=native",)
)
PATIENCE_S = 120.0

FUNCTIONS = {
    "bias_tanh": [c_void_p] * 2 + [c_int64] * 4,
    "add_bias": [c_void_p] * 2 + [c_int64] * 4,
    "mean_samples": [c_void_p] * 2 + [c_int64] * 3,
    "mean_samples_gradient": [c_void_p] * 2 + [c_int64] * 3,
    "tanh_gradient": [c_void_p] * 3 + [c_int64] * 4,
    "sum_rows": [c_void_p] * 2 + [c_int64] * 4,
    "mean_softplus": [c_void_p] * 3 + [c_int64] * 3 + [c_float] * 2,
    "bernoulli": [c_void_p] * 4 + [c_int64] * 5,
    "lstm_step": [c_void_p] * 5 + [c_int64] * 2,
    "lstm_step_gradient": [c_void_p] * 6 + [c_int64] * 2,
    "elu": [c_void_p] * 2 + [c_int64, c_void_p],
    "elu_gradient": [c_void_p] * 3 + [c_int64],
    "elu_bfloat16": [c_void_p] * 2 + [c_int64],
    "elu_bfloat16_gradient": [c_void_p] * 3 + [c_int64],
    "convolution_of_weight": [c_void_p] * 6,
    "gated_maps": [c_void_p] * 4 + [c_int64] * 2 + [c_void_p, c_int64],
    "gated_maps_gradient": [c_void_p] * 3 + [c_int64] * 2,
    "perceptron": [c_void_p] * 4 + [c_int64] * 5,
    "perceptron_gradient": [c_void_p] * 7 + [c_int64] * 6,
    "lstm": [c_void_p] * 11 + [c_int64] * 5,
    "lstm_gradient": [c_void_p] * 15 + [c_int64] * 6,
    "lstm_second_gradient": [c_void_p] * 19 + [c_int64] * 7,
    "bfloat16_rows": [c_void_p] * 3 + [c_int64] * 4,
    "bfloat16_affine": [c_void_p] * 5 + [c_int64] * 7,
    "bfloat16_of_weight": [c_void_p] * 4 + [c_int64] * 5,
    "bfloat16_perceptron": [c_void_p] * 5 + [c_int64] * 6,
    "bfloat16_perceptron_gradient": [c_void_p] * 8 + [c_int64] * 7,
    "bfloat16_back": [c_void_p] * 7 + [c_int64] * 7 + [c_float, c_int64],
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions, on addresses of numbers; None where they cannot be had."""
    found_compiler = compiler()
    if found_compiler is None:
        return None
    with suppress(OSError, subprocess.SubprocessError, AttributeError):
        found = ctypes.CDLL(str(_built(found_compiler)))
        for name, types in FUNCTIONS.items():
            function = getattr(found, name)
            function.argtypes, function.restype = types, None
        for question in (found.bfloat16_products, found.numbers_of_function):
            question.argtypes, question.restype = [], c_int64
        return found
    return None


def required() -> ctypes.CDLL:
    """`library`. Raises RuntimeError where there is none."""
    found = library()
    if found is None:
        raise RuntimeError("there is no C compiler here")
    return found


@cache
def bfloat16_library() -> ctypes.CDLL | None:
    """The same where this machine's processor multiplies matrices of bfloat16 (AMX) and its system lets it; or None."""
    found = library()
    return found if found is not None and found.bfloat16_products() else None


def compiler() -> str | None:
    """Path of the compiler, or None."""
    given = os.environ.get("SWEEPER_CC")
    names = ("cc", "gcc", "clang") if given is None else (given,)
    return next((path for name in names if name and (path := shutil.which(name))), None)


def wanted() -> bool:
    """Whether `library` would compile: not asked for yet here, there is a compiler, and the cache has nothing of it."""
    if library.cache_info().currsize:
        return False
    found_compiler = compiler()
    with suppress(OSError, subprocess.SubprocessError):
        return found_compiler is not None and not _target(found_compiler, cache_folder()).exists()
    return False


@cache
def _target(compiler: str, cached: Path) -> Path:
    """Where the library of this compiler lies in a cache folder, or will. Raises OSError, SubprocessError."""
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=PATIENCE_S).stdout
    identity = [
        *(file.read_bytes() for file in SOURCES + HEADERS),
        version,
        " ".join(_command(compiler)).encode(),
        _processor(),
    ]
    return cached / "compiled" / f"{hashlib.sha256(b'|'.join(identity)).hexdigest()[:24]}.so"


def _command(compiler: str) -> list[str]:
    return [compiler, *FLAGS, *NATIVE]


def _built(compiler: str) -> Path:
    """The library's file, built if the cache has none. Raises OSError, SubprocessError."""
    target = _target(compiler, cache_folder())
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=target.parent) as private:
            made = Path(private) / target.name
            command = [*_command(compiler), "-o", str(made), *map(str, SOURCES)]
            subprocess.run(command, capture_output=True, check=True, timeout=PATIENCE_S)
            os.replace(made, target)
    return target


def bfloat16_unit(cpuinfo: Path = Path("/proc/cpuinfo")) -> str | None:
    """What of this machine's processor multiplies bfloat16: `amx`, `avx512_bf16`, or None."""
    with suppress(OSError):
        flags = {flag for line in cpuinfo.read_text().splitlines() if line.startswith("flags") for flag in line.split()}
        return "amx" if {"amx_tile", "amx_bf16"} <= flags else "avx512_bf16" if "avx512_bf16" in flags else None
    return None


def _processor() -> bytes:
    """What tells processors apart that need code of their own: a cache may lie in a home that many machines share."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n")
        return b"|".join(sorted({line for line in lines if line.startswith((b"model name", b"flags", b"Features"))}))
    return f"{platform.machine()} {platform.processor()}".encode()
