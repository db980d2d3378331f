"""The join's state on disk: its second store, and how a partition's is opened, trusted or made anew."""
