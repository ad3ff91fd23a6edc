"""A channel on disk to batches of rows."""
