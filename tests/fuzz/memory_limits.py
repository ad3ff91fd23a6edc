"""A limit of what one input may make a decoder ask for, though it may never touch it.

Without a sanitizer in the process libFuzzer's ``-malloc_limit_mb`` sees no allocation, so the
system is asked to refuse: beyond the limit `malloc` fails, and a `MemoryError` is a finding.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(mib: int) -> Iterator[None]:
    """Let this process take no more than so much address space beside what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
