"""A first task file from a data file: types, levels, and candidates for id, time and outcome."""
