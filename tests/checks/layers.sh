#!/bin/bash
# No import runs from a lower room of the source to a higher one, and no room has files that need each other in a circle; the
# order of rooms is that of docs/design.md. tests/tools/test_layers.py shows that an upward import is found.
python3 tests/tools/layers.py
