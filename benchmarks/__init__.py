"""What the forward pass costs, against other ways to get the same numbers.

One command runs everything: `python -m benchmarks.forward --out FILE.json [--quick]`. Nothing here
is imported by the library, and nothing is asserted: bars are written down as met or not. This file
imports nothing, so that the parts that measure a child's memory stay small themselves.
"""
