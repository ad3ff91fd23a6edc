"""The same job over many devices and hosts."""
