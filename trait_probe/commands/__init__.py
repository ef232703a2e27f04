"""Commands that are no experiments: `python -m trait_probe.NAME`."""
