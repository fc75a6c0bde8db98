"""Seconds a trial beside the training: 8 workers, 1,000 trials of history, tpe, on each storage."""

import sys

sys.path.insert(0, ".")

from tests.benchmarks import orchestration

for name, url in orchestration._storages(False):
    opened = orchestration._study(url, "tpe", 1000, 48, 5.0)
    print(sys.argv[1], name, orchestration._overhead(opened, url, 8, 5.0), flush=True)
