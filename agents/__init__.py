"""The Faust app, its agents, and the command line. Thin: logic lives in streams."""
