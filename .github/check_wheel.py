"""Ends with exit code 1 where the installed package lacks a part that is written in C."""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path

missing = []
for name in ("onepass.cluster.kernels", "onepass.formats"):
    spec = find_spec(name)
    [folder] = spec.submodule_search_locations or [] if spec else [""]
    if not any(Path(folder, f"_native{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        missing.append(name)
if missing:
    sys.exit(f"not compiled: {', '.join(missing)}")
