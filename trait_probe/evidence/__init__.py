"""Protection against fooling oneself: numbers in, claims out. Arrays only; no model is run here.

- Numbers: `estimate` (a value with its interval, or the reason why there is none), `effects`,
  `means`, `standardized`, `auc`, `detection`, `association`, `distribution`, `bootstrap`.
- Tests: `significance`; over many looks `multiplicity` and `simultaneous`.
- What the number looks like when nothing is there: `nulls`.
- What else could explain it: `shortcuts` (cross-validated), `baselines` (fitted on one side of a
  split, scored on the other), `classifiers`; what words predict of a projection: `words`.
- What was chosen on which rows: `splits`, `locks`.
- What may be said: `checks`, `claims` (the only place of verdict rules), `power`.
- From scores to claims: `studies`, one per kind; `triggers` for a trigger inside one model.
"""
