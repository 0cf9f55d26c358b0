#!/bin/bash
# Checks that no file imports from a higher room of the source, and that no files of a room import each other in a
# circle. docs/design.md gives the order of the rooms. tests/tools/test_layers.py shows that an upward import is found.
python3 tests/tools/layers.py
