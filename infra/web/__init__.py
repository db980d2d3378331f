"""The live page: HTML, styles and scripts as files, served as they are."""
