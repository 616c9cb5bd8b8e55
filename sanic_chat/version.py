"""The version of this package: told by `--version`, and by each pod in its report.

May live here: the version, and nothing else, since packaging reads it without running anything.
"""

VERSION = "0.1.0"
