"""From scores to claims: one module per kind of claim, each with every control its kind requires.

An experiment hands in arrays (projections of its prompts, the same for null directions, controls
and foils) and the split; what is chosen, how intervals are made and what a verdict needs is decided
here and in `claims`, nowhere else. A control that is not handed in is a missing check, and the
claim is not testable. The trigger's kind of shift lives in `evidence.triggers`.

Error rates and power of each are measured by `python -m benchmarks.calibration`.
"""
