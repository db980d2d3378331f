"""Batch scoring: requests of a file or of the log, scored with a fixed version, written in parts."""
