"""What is wrong with the data of a job, and what to do about it."""

from __future__ import annotations

from onepass.errors import DecodeError, UserError, WidthError
from onepass.sagemaker.hyperparameters import Hyperparameters


def explained(error: DecodeError, wanted: Hyperparameters) -> UserError:
    """Return the error with the hyperparameters that have to do with it."""
    if isinstance(error, WidthError):
        return UserError(
            f"feature_dim={wanted.feature_dim} does not fit the data: {error}; set feature_dim to "
            "what the data have, or mend the data"
        )
    if error.skippable:
        return UserError(f"{error}; mend or remove it, or set max_bad_records to pass over some")
    return UserError(str(error))
