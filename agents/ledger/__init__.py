"""The ledger on a cluster: a workload whose right answer is known, sent while faults strike."""
