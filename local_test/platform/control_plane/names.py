"""ARNs and times."""

from __future__ import annotations

from datetime import UTC, datetime

REGION, ACCOUNT = "us-east-1", "123456789012"


def arn(kind: str, name: str) -> str:
    """Return the ARN of something of SageMaker's."""
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{kind}/{name.lower()}"


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)
