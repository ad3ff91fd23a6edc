"""Bytes to arrays and back. Nothing here knows HTTP or clustering."""
