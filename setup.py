"""The one thing pyproject.toml cannot say yet: that parts of this package are written in C."""

from setuptools import Extension, setup

KERNELS = "src/onepass/cluster/kernels"
FORMATS = "src/onepass/formats"
PARTS = "search", "lloyd", "starts", "pivots", "absorb", "rounded"

setup(
    ext_modules=[
        Extension(
            "onepass.cluster.kernels._native",
            [f"{KERNELS}/native.c"],
            depends=[f"{KERNELS}/{part}.inc.c" for part in PARTS],
            extra_compile_args=["-O3", "-Wall", "-Wextra"],
            optional=True,  # without a compiler, NumPy does the work: slower, with the same results
        ),
        Extension(
            "onepass.formats._native",
            [f"{FORMATS}/records.c", f"{FORMATS}/numbers.c"],
            extra_compile_args=["-O3", "-Wall", "-Wextra"],
            optional=True,  # as above
        ),
    ]
)
