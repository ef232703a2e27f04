"""Does "supported" mean what it says? Error rates, power, and confounded studies that must fail.

    python -m benchmarks.calibration --out bench-calibration.json [--studies 400] [--only PART ...]

Parts: `null` (nothing is there: how often is anything supported?), `power` (a planted effect: how
often is it found?), `confounded` (an effect that comes from somewhere else: how often is it
caught?). Studies are whole ones: the very functions that the experiments call, with their choices
of layer and position, their nulls and their controls, on synthetic activations and on activations
of the organisms. Nothing here decides a verdict.
"""
