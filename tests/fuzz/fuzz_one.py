"""Fuzz one decoder with atheris: ``python fuzz_one.py NAME [option or folder ...]``."""

from __future__ import annotations

import shlex
import sys

import atheris
import numpy as np

with atheris.instrument_imports(include=["onepass", "tarfile"], enable_loader_override=False):
    from targets import limited, ready, run_one

_NUMPYS = "_read_array_header", "_filter_header", "descr_to_dtype"


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    name, *options = sys.argv[1:]
    for reader in _NUMPYS:
        atheris.instrument_func(getattr(np.lib._format_impl, reader))

    with ready(name) as target:

        def check(data: bytes) -> None:
            with limited(target.limit_mib):
                run_one(target, data)

        # libFuzzer runs this anew, by a shell, to merge: its name of the program is all of that.
        atheris.Setup([shlex.join([sys.executable, __file__, name]), *options], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
