"""The ledger on a cluster: sends the workload, and reads all of a history back."""
