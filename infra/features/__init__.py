"""Features by the key of an entity: stores, what fills them, and what reads them for serving."""
