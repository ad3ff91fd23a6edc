"""How log lines look: the grammar of SageMaker's built-in algorithms."""

from __future__ import annotations

import logging
import sys

from onepass.sagemaker.metrics import METRICS_PREFIX


class _Formatter(logging.Formatter):
    """``[MM/DD/YYYY HH:MM:SS LEVEL <thread>] message``.

    Metrics stand bare, with a line below; so does JSON, without one.
    """

    def __init__(self) -> None:
        super().__init__(
            "[%(asctime)s %(levelname)s %(thread)d] %(message)s", datefmt="%m/%d/%Y %H:%M:%S"
        )

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if message.startswith("{"):  # a request, in JSON
            return message
        return f"{message}\n" if message.startswith(METRICS_PREFIX) else super().format(record)


def set_up_logging(level: str) -> None:
    """Send log lines of `level` and above to standard error, each whole and at once."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
