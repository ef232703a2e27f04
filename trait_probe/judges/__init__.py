"""Judges: what scores an answer.

- `judge`: what a judge is (`Judge`), what it gives (`Scored` or `Unscored`), exact rules.
- `many`: many answers scored by one judge, at once where it can (`judge_all`).
- `rubric`: what a judge is told to look for, as text with a hash; `fence` keeps judged texts data.
- `local`: any loaded model as a judge, read from its next-token probabilities.
- `claude`: a model behind an API as a judge; `cache` keeps the scores that were paid for.
- `instrument`: what a judge is worth: agreement with gold scores, repeats, what it left unscored.
"""
