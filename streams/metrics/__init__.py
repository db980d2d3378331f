"""Metrics of what was served, as folds of the log: one small file each, declared in `registry`."""
