"""The audit of a task: its chain, checkpoints of it, and what became of a request."""
