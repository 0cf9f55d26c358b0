#!/bin/bash
# Checks that no file imports from a higher room of the source, and that the files of a room do not import each other in
# a circle. docs/design.md gives the order of the rooms. tests/tools/test_layers.py tests this check.
python3 tests/tools/layers.py
