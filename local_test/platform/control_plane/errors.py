"""Errors in the shapes that AWS gives them."""

from __future__ import annotations


class ApiError(Exception):
    """An answer that is an error.

    Parameters
    ----------
    code : str
        As boto3 shows it: ``ValidationException``, say.
    message : str
    status : int
    """

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ApiError:
    """Return what says that a request makes no sense."""
    return ApiError("ValidationException", message)


def not_found(what: str, name: str) -> ApiError:
    """Return what says that there is no such thing."""
    return invalid(f'Could not find {what} "{name}".')


def in_use(what: str, name: str) -> ApiError:
    """Return what says that a name is taken."""
    return ApiError("ResourceInUse", f"{what} names must be unique: {name} exists")
