"""Drift on the labelled stream: signals, detectors, the outcome feed, episodes."""
