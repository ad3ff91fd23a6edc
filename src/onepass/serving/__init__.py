"""The server: bytes to rows to clusters to bytes."""
