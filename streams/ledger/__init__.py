"""The ledger: a workload whose right answer is a pure function of its seed, and the check of a history by it."""
