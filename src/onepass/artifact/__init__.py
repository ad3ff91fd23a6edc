"""A trained model on disk: one file, and the archive it travels in."""
