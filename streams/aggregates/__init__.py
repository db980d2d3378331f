"""Aggregates of the requests of an entity, right at the time of each request."""
