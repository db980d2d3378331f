"""A race of several models: the best one answers, and the rest follow from the log."""
