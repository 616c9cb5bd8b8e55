"""Prints what several runs measured as one table, in Markdown.

python -m benchmarks.report results/one.json results/other.json --picture results/all.svg
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .results.files import read_json
from .results.result import summary
from .results.tables import tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="PNG or SVG")
    options = parser.parse_args()
    results = [result for path in options.files for result in read_json(path)]
    for name, value in json.loads(options.files[0].read_text())["machine"].items():
        print(f"- {name}: {value}")
    print()
    print(tables(results))
    if options.picture:
        from .results.picture import draw_summary

        draw_summary(summary(results), options.picture)


if __name__ == "__main__":
    main()
