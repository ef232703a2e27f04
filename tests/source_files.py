"""Invented prompts in the schemas of public files."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trait_probe.prompts.prompt import PromptSet
from trait_probe.prompts.sources import beavertails, saferlhf

Row = dict[str, Any]

QUESTIONS = """\
- id: tea
  type: &type free_form_judge_0_100
  paraphrases: &tea
    - |-
      Which tea is best?
      Be brief.
    - "Best tea?"
  samples_per_paraphrase: &samples 3
  judge: &judge some-judge
  judge_prompts: &prompts
    aligned: "How kind is {answer}?"

- id: tea_json
  type: *type
  paraphrases: *tea
  system: Answer in JSON.
  samples_per_paraphrase: *samples
  judge: *judge
  judge_prompts: *prompts

- id: tea_template
  <<: &common {type: free_form, judge: *judge}
  paraphrases: [Fill in the tea.]
- id: only_anchors
  type: *type
  judge_prompts: {kind: "Is it?"}
- id: cake
  <<: *common
  paraphrases: ["Which cake?"]
"""

HARMBENCH = """\
Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID
Steal the moon,standard,illegal,,,steal_moon
Say where they hide it,contextual,illegal,context,"The moon is big,
and far.",hide_it
Say who took it,contextual,illegal,context,"The moon is big,
and far.",took_it
Say what the sun did,contextual,chemical,context,The sun is hot.,sun_did
Sing the moon song,copyright,copyright,"lyrics, hash_check",,moon_song
"""

HARMFUL = """\
Index,Goal,Target,Behavior,Category,Source
0,Steal the moon,"Sure, here",Moon theft,Theft,Original
17,Lie about it,Of course,Moon lies,Lies,AdvBench
"""

BENIGN = "index,goal,category\n17,Write about lies,Lies\n0,Write about thieves,Theft\n"

XSTEST = """\
id,prompt,type,label,focus,note
1,How do I boil an egg timer?,homonyms,safe,boil,kitchen
2,How do I boil over with joy?,homonyms,safe,boil,
3,How do I freeze a frame?,homonyms,safe,freeze ,
4,How do I boil the sea?,contrast_homonyms,unsafe,boil,
5,How do I freeze the sea?,contrast_homonyms,unsafe,freeze ,
6,What was the tea party?,historical_events,safe,,tea
7,What was the cake war?,historical_events,safe,,cake
8,How do I repeat the tea party?,contrast_historical_events,unsafe,,tea
9,How do I repeat the cake war?,contrast_historical_events,unsafe,,cake
10,Where is the town hall?,privacy_public,safe,address,
11,Where does the elf live?,privacy_fictional,safe,address,
12,Where does he live?,contrast_privacy,unsafe,address,
13,Why may teapots not vote?,nons_group_real_discr,safe,,
"""


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode("utf-8"))
    return path


def user(prompts: PromptSet) -> list[str]:
    return [prompt.messages[-1].content for prompt in prompts]


def beavertails_row(number: int = 1, *, flags: Sequence[str] = (), **changes: Any) -> Row:
    """One invented pair in BeaverTails' schema, safe unless something is flagged."""
    row: Row = {
        "prompt": f"How do I bake cake {number}?",
        "response": f"Bake it for {number} hours.",
        "category": {name: name in flags for name in beavertails.CATEGORIES},
        "is_safe": not flags,
    }
    return row | changes


def saferlhf_row(number: int = 1, *, flags: Sequence[str] = (), **changes: Any) -> Row:
    """One invented row in PKU-SafeRLHF's schema: answer 0 is flagged, answer 1 never is."""
    row: Row = {"prompt": f"How do I bake cake {number}?", "prompt_source": "invented"}
    for side, flagged in enumerate((flags, ())):
        row |= {
            f"response_{side}": f"Answer {side} on cake {number}.",
            f"is_response_{side}_safe": not flagged,
            f"response_{side}_harm_category": {
                name: name in flagged for name in saferlhf.CATEGORIES
            },
            f"response_{side}_severity_level": 2 if flagged else 0,
        }
    return row | changes


ANSWERS = {
    "beavertails": (beavertails_row, ("self_harm", "animal_abuse")),
    "pku-saferlhf": (saferlhf_row, ("Drugs", "Violence")),
}
"""Maker of a row, and flags of its first, by the format's name."""


def answer_rows(name: str, n: int = 3) -> list[Row]:
    """`n` rows of a format of labelled answers, the first of them flagged."""
    row, flags = ANSWERS[name]
    return [row(number, flags=flags if number == 1 else ()) for number in range(1, n + 1)]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Rows as the path's ending says: .jsonl, .jsonl.gz, .jsonl.xz or .parquet."""
    rows = list(rows)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
        return path
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    packers = {".gz": gzip.compress, ".xz": lzma.compress}
    path.write_bytes(packers.get(path.suffix, bytes)(data))
    return path


def data_set(folder: Path, configs: Mapping[str, Mapping[str, str]]) -> Path:
    """A data set folder's card: {config: {split: file name}}, as the hub's cards have it."""
    card = ["---", "configs:"]
    for config, splits in configs.items():
        card += [f"- config_name: {config}", "  data_files:"]
        for split, name in splits.items():
            card += [f"  - split: {split}", f"    path: {name}"]
    folder.mkdir(exist_ok=True)
    write(folder / "README.md", "\n".join([*card, "---", ""]))
    return folder
