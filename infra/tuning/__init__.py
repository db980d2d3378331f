"""Tuning: many configurations of a task's models over one history, in processes or on a Dask cluster."""
