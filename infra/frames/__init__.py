"""The records of a task as Arrow tables: exported to Parquet files, or read into a notebook."""
