"""The two heavy operations, nearest-center search and accumulation, one module per device."""
