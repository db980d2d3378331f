"""Papers about versions, as documents: the model card and the comparison of two versions."""
