"""A trigger inside one model: the same carriers under a trigger and under pretend triggers.

`design` says what can be read, `trait_choice` and `feature_choice` choose on the selection rows,
`reading` and `features` report, `onset` finds the first token; `effects`, `intervals`, `nulls` and
`directions` are what they compute with; `checks` and `claims` say what follows.
"""
