"""What a page about a running task shows, as a fold of what lies on its topics."""
