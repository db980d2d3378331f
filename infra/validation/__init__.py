"""Validations beside the loop: models and requests read from snapshots and the log."""
