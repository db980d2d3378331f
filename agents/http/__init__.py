"""HTTP: predictions, outcomes, health and status of the tasks of one worker."""
