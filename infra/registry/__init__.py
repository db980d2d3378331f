"""Schema registries: what a record's schema id stands for. Imported only where one is set."""
