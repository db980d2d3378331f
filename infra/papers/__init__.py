"""Papers about versions: what is read for a model card and for a comparison."""
