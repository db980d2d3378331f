"""What `riverloop drift-bench` measures: streams, protocols, rivals."""
