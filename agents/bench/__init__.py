"""Contenders for the same job, measured side by side by `riverloop bench`."""
