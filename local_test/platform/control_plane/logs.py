"""Logs of containers, in CloudWatch's logs, which are moto's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
from botocore.exceptions import ClientError

from control_plane.names import REGION

_AT_ONCE, _WAIT_S = 1000, 0.5


class Logs:
    """A client.

    Parameters
    ----------
    endpoint : str
        Where the server is.
    show : callable
        Is told each line, with what it is of.
    """

    def __init__(self, endpoint: str, show: Callable[[str, str], None]) -> None:
        self._client: Any = boto3.client(
            "logs",
            endpoint_url=endpoint,
            region_name=REGION,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - moto asks for none
        )
        self._show = show

    def stream(self, group: str, name: str) -> Callable[[str], None]:
        """Begin a stream; returns what takes its lines."""
        for make, told in (
            (self._client.create_log_group, {"logGroupName": group}),
            (self._client.create_log_stream, {"logGroupName": group, "logStreamName": name}),
        ):
            with suppress(ClientError):  # it is there
                make(**told)
        waiting: list[dict[str, Any]] = []
        lock = threading.Lock()

        def send() -> None:
            with lock:
                events, waiting[:] = waiting[:_AT_ONCE], waiting[_AT_ONCE:]
            if events:
                with suppress(ClientError):
                    self._client.put_log_events(
                        logGroupName=group, logStreamName=name, logEvents=events
                    )

        def take(line: str) -> None:
            self._show(name, line)
            if not line:
                return
            with lock:
                is_first = not waiting
                waiting.append({"timestamp": round(time.time() * 1000), "message": line})
            if is_first:
                threading.Timer(_WAIT_S, send).start()

        return take
