"""What several rooms of tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def oracle_python():
    """Name the interpreter of another project's environment, or skip with the reason."""

    def find(name: str) -> Path:
        home = os.environ.get("ONEPASS_ORACLES", "")
        python = Path(home, name, "bin", "python")
        if not home:
            pytest.skip(f"ONEPASS_ORACLES names no folder of environments ({name} is needed)")
        if not python.exists():
            pytest.skip(f"there is no {python}")
        return python

    return find
