"""Reads a scrape on standard input as Prometheus does, and prints what it holds as JSON.

    metrics.py text|openmetrics < scrape
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

parse = {"text": text, "openmetrics": openmetrics}[sys.argv[1]]
families = {}
for family in parse(sys.stdin.read()):
    assert family.name not in families, f"{family.name} is there twice"
    assert family.documentation, f"{family.name} has no help"
    families[family.name] = {
        "type": family.type,
        "samples": [[one.name, one.labels, one.value] for one in family.samples],
    }
seen = set()
for family in families.values():
    for name, labels, _ in family["samples"]:
        series = (name, tuple(sorted(labels.items())))
        assert series not in seen, f"{series} is there twice"
        seen.add(series)
json.dump(families, sys.stdout)
