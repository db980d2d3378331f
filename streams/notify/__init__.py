"""What leaves the loop for other systems and people: events, signatures, routes, retries. Pure rules."""
