"""Data files: delimited text, JSON lines, Parquet, one or a folder of them, as rows of text cells."""
