"""Delivery of events to other systems and people, beside the loop."""
