"""Which format a body is in, and which one the client wants back."""

from __future__ import annotations

from werkzeug.datastructures import MIMEAccept

from onepass.formats.media import CODECS, MediaType
from onepass.serving.problems import HttpError


def content_type(header: str | None) -> MediaType:
    """Return the media type of a body; 415 when it is not read here."""
    media = MediaType.parse(header or "")
    if media.name not in CODECS:
        raise HttpError(
            415,
            "unsupported_content_type",
            f"content-type {header or 'missing'!s} is not supported; "
            f"supported are {', '.join(CODECS)}",
        )
    return media


def answer_type(accept: MIMEAccept, default: str) -> str:
    """Return the media type to answer in; 406 when none that the client accepts is written here.

    Parameters
    ----------
    accept : werkzeug.datastructures.MIMEAccept
        What the client accepts, best first.
    default : str
        Where the client does not care.
    """
    if not accept:
        return default
    for value, quality in accept:
        chosen = _match(MediaType.parse(value).name, default) if quality > 0 else None
        if chosen:
            return chosen
    raise HttpError(
        406,
        "not_acceptable",
        f"Accept {accept.to_header()!r} is not supported; supported are {', '.join(CODECS)}",
    )


def _match(wanted: str, default: str) -> str | None:
    if wanted in CODECS:
        return wanted
    if not wanted.endswith("/*"):
        return None
    family = "" if wanted == "*/*" else wanted[:-1]
    return next((name for name in (default, *CODECS) if name.startswith(family)), None)
