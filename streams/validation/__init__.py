"""Validations: checks of models at fixed offsets of the log."""
