"""Grafana's dashboards: made by code, checked in as JSON, provisioned by file.

Users need the JSON alone; what makes it needs the extra `dev`.
"""
