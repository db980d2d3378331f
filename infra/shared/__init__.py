"""Predictions that all workers of a task can give back, in a store that they share."""
