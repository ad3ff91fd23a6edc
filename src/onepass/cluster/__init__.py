"""Clustering: arrays in, values out. Nothing here knows a file or a protocol."""
