"""One task in a worker: its agents' work, written without Faust and settings."""
