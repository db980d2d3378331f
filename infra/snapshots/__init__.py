"""Snapshots: where stored versions lie, how they are written, checked and loaded."""
