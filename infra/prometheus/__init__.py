"""What a Prometheus server needs for riverloop's workers, and one such server as a child process."""
