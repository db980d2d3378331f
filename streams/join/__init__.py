"""The join of one partition, and the state that it keeps."""
