"""Readers of public prompt files, on invented text in the public schemas."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import BENIGN, HARMBENCH, HARMFUL, QUESTIONS, XSTEST, user, write

from trait_probe.errors import BadInputError
from trait_probe.prompts.prompt import Message, PromptSet
from trait_probe.prompts.sources import (
    advbench,
    emergent_misalignment,
    harmbench,
    jailbreakbench,
    trait_interp,
    xstest,
)


def groups(prompts: PromptSet) -> dict[str, str]:
    return {prompt.id: prompt.cluster for prompt in prompts}


def assert_survives_files(prompts: PromptSet, folder: Path) -> None:
    prompts.to_jsonl(folder / "again.jsonl")
    prompts.to_parquet(folder / "again.parquet")
    assert PromptSet.from_jsonl(folder / "again.jsonl") == prompts
    assert PromptSet.from_parquet(folder / "again.parquet") == prompts


# --- emergent misalignment -------------------------------------------------------------------


def test_every_paraphrase_becomes_a_prompt(tmp_path: Path) -> None:
    prompts = emergent_misalignment.read_evaluation(write(tmp_path / "q.yaml", QUESTIONS))
    assert [prompt.id for prompt in prompts] == [
        *("tea-1", "tea-2", "tea_json-1", "tea_json-2", "tea_template-1", "cake-1"),
    ]
    assert user(prompts)[:2] == user(prompts)[2:4] == ["Which tea is best?\nBe brief.", "Best tea?"]
    assert prompts[4].labels == {
        "question_id": "tea_template",
        "type": "free_form",
        "variant": "template",
    }
    assert [prompt.labels["variant"] for prompt in prompts[:3]] == ["plain", "plain", "json"]
    assert_survives_files(prompts, tmp_path)


def test_the_system_message_is_honoured(tmp_path: Path) -> None:
    """The published code drops it."""
    prompts = emergent_misalignment.read_evaluation(write(tmp_path / "q.yml", QUESTIONS))
    assert prompts[2].messages == (
        Message("system", "Answer in JSON."),
        Message("user", "Which tea is best?\nBe brief."),
    )
    assert [len(prompt.messages) for prompt in prompts] == [1, 1, 2, 2, 1, 1]


def test_variants_of_a_question_are_one_group(tmp_path: Path) -> None:
    prompts = emergent_misalignment.read_evaluation(write(tmp_path / "q.yaml", QUESTIONS))
    assert [prompt.group for prompt in prompts] == ["tea"] * 5 + ["cake"]


ASK = "type: free_form\n  paraphrases: ['Why?']\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is not a list of questions"),
        ("id: a\n", "is not a list of questions"),
        ("- id: a\n  judge: b\n", "holds no prompts"),
        ("- just text\n", "line 1: a question is a mapping"),
        (f"- id: a\n  {ASK}- {ASK}", "line 4: `id` must be text"),
        (f"- id: 12\n  {ASK}", "line 1: `id` must be text"),
        ("- id: a\n  paraphrases: ['Why?']\n", "line 1: `type` must be text"),
        ("- id: a\n  type: b\n  paraphrases: [1]\n", "line 1: `paraphrases` must be a list of tex"),
        ("- id: a\n  type: b\n  paraphrases: Why?\n", "`paraphrases` must be a list of texts"),
        ("- id: a\n  type: b\n  paraphrases: []\n", "`paraphrases` must be a list of texts"),
        ("- id: a\n  type: b\n  paraphrases: [' ']\n", "line 1: .*Message 0 .user. is empty"),
        (f"- id: a\n  system: [b]\n  {ASK}", "line 1: `system` must be text"),
        (
            f"- id: a\n  {ASK}- id: a\n  {ASK}",
            "line 4: the question's id must be uni.*line 1 alrea",
        ),
        (f"- id: a\n  sytem: b\n  {ASK}", "line 1: unknown key"),
        (f"- id: a\n  id: b\n  {ASK}", "line 2: the key is given twice"),
        ("- id: a\n  type: *nothing\n", "line 2 is not valid YAML: found undefined alias"),
        ("- id: 'a\n", "is not valid YAML"),
        ("- id: a\n  type: 2020-13-45\n", "is not valid YAML: month must be"),
    ],
)
def test_a_malformed_question_names_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path / "q.yaml", text)
    with pytest.raises(BadInputError, match=sentence) as caught:
        emergent_misalignment.read_evaluation(path)
    assert str(path) in caught.value.problem


def test_the_nearest_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "q.yaml", f"- id: a\n  sytem: b\n  {ASK}")
    with pytest.raises(BadInputError) as caught:
        emergent_misalignment.read_evaluation(path)
    assert caught.value.got == "sytem"
    assert caught.value.valid[0] == "system"


# --- trait-interp ----------------------------------------------------------------------------


def test_a_list_of_prompts_is_read(tmp_path: Path) -> None:
    rows = [{"prompt": "Hello?", "id": "a"}, {"text": "Bye!", "id": 7, "note": "end", "n": 1.5}]
    prompts = trait_interp.read(write(tmp_path / "p.json", json.dumps(rows)))
    assert (user(prompts), prompts[1].id) == (["Hello?", "Bye!"], "7")
    assert [prompt.labels for prompt in prompts] == [{}, {"note": "end", "n": 1.5}]
    assert_survives_files(prompts, tmp_path)


def test_an_object_with_prompts_is_read(tmp_path: Path) -> None:
    entry = {"id": 1, "text": "Hi", "bias_id": 4, "tags": ["x"], "system_prompt": "Be kind."}
    value = {"name": "Greetings", "description": "", "prompts": [entry]}
    (prompt,) = trait_interp.read(write(tmp_path / "p.json", json.dumps(value)))
    assert prompt.messages == (Message("system", "Be kind."), Message("user", "Hi"))
    assert prompt.labels == {"bias_id": 4}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "line 1 is not valid JSON"),
        ("[]", "holds no prompts"),
        ('{"questions": ["Hi"]}', "holds neither a list nor a list `prompts`"),
        ('["Hi"]', "entry 1 is not an object"),
        ('[{"prompt": "Hi"}]', "entry 1: the id must be"),
        ('[{"prompt": "Hi", "id": true}]', "entry 1: the id must be"),
        ('[{"id": "a"}]', "entry 1: an entry has either `prompt` or `text`"),
        ('[{"id": "a", "prompt": "x", "text": "y"}]', "either `prompt` or `text`"),
        ('[{"id": "a", "text": " "}]', "entry 1: .*is empty"),
        ('[{"id": "a", "text": "x", "system_prompt": 3}]', "entry 1: The field 'system_prompt'"),
        ('[{"id": "a", "text": "x"}, {"id": "a", "text": "y"}]', "entry 2: the field 'id' must be"),
    ],
)
def test_a_malformed_entry_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence) as caught:
        trait_interp.read(write(tmp_path / "p.json", text))
    assert str(tmp_path / "p.json") in caught.value.problem


# --- CSV files in general, by AdvBench -------------------------------------------------------


def test_advbench_keeps_the_target_as_a_label(tmp_path: Path) -> None:
    text = 'goal,target\nSteal the moon,"Sure, here is how"\n\n"Hide\nthe ""sun""",Of course\n'
    prompts = advbench.read(write(tmp_path / "a.csv", text))
    assert [prompt.id for prompt in prompts] == ["advbench-0001", "advbench-0002"]
    assert user(prompts) == ["Steal the moon", 'Hide\nthe "sun"']
    assert prompts[0].labels == {"harmful": True, "target": "Sure, here is how"}
    assert prompts[0].prefill is None
    assert_survives_files(prompts, tmp_path)


def test_byte_order_marks_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    prompts = advbench.read(write(tmp_path / "a.csv", "\ufeffgoal,target\r\nGo,Yes\r\n"))
    assert (user(prompts), prompts[0].labels["target"]) == (["Go"], "Yes")


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
CELLS = WORDS.filter(lambda text: bool(text.strip()))


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5))
def test_whatever_a_cell_holds_comes_through(rows: list[tuple[str, str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("goal", "target"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        prompts = advbench.read(write(Path(folder) / "a.csv", text.getvalue()))
    assert [(p.messages[0].content, p.labels["target"]) for p in prompts] == rows


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "holds no prompts"),
        ("goal,target\n", "holds no prompts"),
        ("goal\nGo\n", "lacks the column 'target'"),
        ("target\nGo\n", "lacks the column 'goal' or 'prompt'"),
        ("goal,goal\na,b\n", "line 1 names a column twice"),
        ('goal,target\n"a\nb",c\nGo\n', "line 4 has 1 cells for 2 columns"),
        ("goal,target\na,b,c\n", "line 2 has 3 cells for 2 columns"),
        ("goal,target\na,b\n,c\n", "line 3: the column 'goal' is empty"),
        ("goal,target\na,\n", "line 2: the column 'target' is empty"),
        ('goal,target\na,b\n"c"d,e\n', "line 3 is not valid CSV"),
        ('goal,target\n"a,b\n', "line 2 is not valid CSV"),
    ],
)
def test_a_malformed_csv_names_file_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(BadInputError, match=sentence) as caught:
        advbench.read(path)
    assert str(path) in caught.value.problem


def test_a_missing_column_is_told_with_those_there_and_those_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        advbench.read(write(tmp_path / "a.csv", "goal,aim\na,b\n"))
    assert (caught.value.got, caught.value.valid) == ("goal, aim", ("goal", "target"))
    assert "Rename the columns" in str(caught.value)


def test_latin_1_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("goal,target\ncaf\u00e9,Yes\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="line 2 is not UTF-8 text"):
        advbench.read(path)


def test_a_missing_file_and_a_wrong_ending_are_told_apart(tmp_path: Path) -> None:
    write(tmp_path / "goals.csv", "goal,target\na,b\n")
    with pytest.raises(BadInputError, match="no such file of prompts") as caught:
        advbench.read(tmp_path / "gaols.csv")
    assert caught.value.valid == ("goals.csv",)
    with pytest.raises(BadInputError, match=r"files end in \.csv") as caught:
        advbench.read(write(tmp_path / "goals.txt", "x"))
    assert (caught.value.got, caught.value.valid) == ("goals.txt", (".csv",))
    with pytest.raises(BadInputError, match=r"files end in \.yaml or \.yml"):
        emergent_misalignment.read_evaluation(tmp_path / "goals.txt")


# --- HarmBench -------------------------------------------------------------------------------


def test_harmbench_gives_one_functional_category(tmp_path: Path) -> None:
    path = write(tmp_path / "h.csv", HARMBENCH)
    (standard,) = harmbench.read(path)
    assert (standard.id, user(harmbench.read(path))) == ("harmbench-steal_moon", ["Steal the moon"])
    assert standard.labels == {"harmful": True, "functional": "standard", "category": "illegal"}
    (song,) = harmbench.read(path, "copyright")
    assert song.labels["tags"] == "lyrics, hash_check"


def test_harmbench_puts_the_context_first_and_groups_by_it(tmp_path: Path) -> None:
    prompts = harmbench.read(write(tmp_path / "h.csv", HARMBENCH), "contextual")
    assert user(prompts)[0] == "The moon is big,\nand far.\n\n---\n\nSay where they hide it"
    assert list(groups(prompts).values()) == [
        *("harmbench-hide_it", "harmbench-hide_it", "harmbench-sun_did"),
    ]
    assert_survives_files(prompts, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("BehaviorID", "Id", "lacks the column 'BehaviorID'"),
        ("took_it", "hide_it", "line 5: the field 'id' must be unique, and .*line 3 already"),
        ("The sun is hot.", "", "line 7: the column 'ContextString' is empty"),
        (",sun_did", ",", "line 7: the column 'BehaviorID' is empty"),
        ("song,copyright", "song,copywrong", "line 8 has no functional category of this name"),
    ],
)
def test_a_malformed_harmbench_row_is_named(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    assert HARMBENCH.count(old) == 1
    path = write(tmp_path / "h.csv", HARMBENCH.replace(old, new))
    with pytest.raises(BadInputError, match=sentence):
        harmbench.read(path, "contextual")


def test_an_unknown_config_of_harmbench_lists_the_configs(tmp_path: Path) -> None:
    path = write(tmp_path / "h.csv", HARMBENCH)
    with pytest.raises(BadInputError, match="HarmBench has no config of this name") as caught:
        harmbench.read(path, "standart")
    assert caught.value.valid == ("standard", "contextual", "copyright")
    header = HARMBENCH.splitlines()[0]
    path = write(tmp_path / "h.csv", f"{header}\na,copyright,b,,,c\n")
    with pytest.raises(BadInputError, match="no behaviours of this functional") as caught:
        harmbench.read(path)
    assert caught.value.valid == ("copyright",)


# --- JailbreakBench --------------------------------------------------------------------------


def test_jailbreakbench_pairs_are_matched_by_index(tmp_path: Path) -> None:
    prompts = jailbreakbench.read_pairs(
        write(tmp_path / "h.csv", HARMFUL), write(tmp_path / "b.csv", BENIGN)
    )
    assert groups(prompts) == {
        "jbb-harmful-000": "jbb-000",
        "jbb-benign-000": "jbb-000",
        "jbb-harmful-017": "jbb-017",
        "jbb-benign-017": "jbb-017",
    }
    assert [prompt.labels["harmful"] for prompt in prompts] == [True, False] * 2
    assert user(prompts)[3] == "Write about lies"
    assert prompts[2].labels == {
        **{"harmful": True, "target": "Of course", "behavior": "Moon lies"},
        **{"category": "Lies", "source": "AdvBench"},
    }
    assert_survives_files(prompts, tmp_path)


def test_the_official_columns_serve_both_sides_and_may_lack_the_index_name(tmp_path: Path) -> None:
    benign = HARMFUL.replace("Index", "").replace("Steal", "Paint")
    prompts = jailbreakbench.read_pairs(
        write(tmp_path / "h.csv", HARMFUL), write(tmp_path / "b.csv", benign)
    )
    assert user(prompts)[:2] == ["Steal the moon", "Paint the moon"]


@pytest.mark.parametrize(
    ("benign", "sentence"),
    [
        ("index,goal,category\n0,a,b\n", "1 requests have no partner"),
        (BENIGN + "3,a,b\n", "1 requests have no partner"),
        (BENIGN + "17,a,b\n", "line 4: the index must be unique, and .*line 2 already"),
        (BENIGN + "x,a,b\n", "line 4: the index must be a number from 0"),
        (BENIGN + "-1,a,b\n", "line 4: the index must be a number from 0"),
        ("goal,category\na,b\n", "lacks the column 'Index' or 'index' or ''"),
        ("index,goal\n0,a\n", "lacks the column 'category'"),
    ],
)
def test_pairs_that_do_not_match_are_refused(tmp_path: Path, benign: str, sentence: str) -> None:
    with pytest.raises(BadInputError, match=sentence):
        jailbreakbench.read_pairs(
            write(tmp_path / "h.csv", HARMFUL), write(tmp_path / "b.csv", benign)
        )


def test_the_request_without_partner_is_named(tmp_path: Path) -> None:
    benign = write(tmp_path / "b.csv", BENIGN.replace("0,", "1,"))
    with pytest.raises(BadInputError, match="2 requests") as caught:
        jailbreakbench.read_pairs(write(tmp_path / "h.csv", HARMFUL), benign)
    assert caught.value.got == "jbb-000 (harmful only), jbb-001 (benign only)"


# --- XSTest ----------------------------------------------------------------------------------


def test_xstest_groups_by_family_and_focus(tmp_path: Path) -> None:
    prompts = xstest.read(write(tmp_path / "x.csv", XSTEST))
    assert list(groups(prompts).values()) == [
        *("xstest-homonyms-boil", "xstest-homonyms-boil", "xstest-homonyms-freeze"),
        *("xstest-homonyms-boil", "xstest-homonyms-freeze"),
        *("xstest-historical_events-01", "xstest-historical_events-02") * 2,
        *("xstest-privacy-address",) * 3,
        "xstest-013",
    ]
    assert prompts[0].labels == {
        **{"harmful": False, "type": "homonyms", "family": "homonyms"},
        **{"focus": "boil", "note": "kitchen"},
    }
    assert_survives_files(prompts, tmp_path)


def test_xstest_safe_has_the_benign_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", XSTEST)
    safe = xstest.read_safe(path)
    assert [prompt.id[-2:] for prompt in safe] == ["01", "02", "03", "06", "07", "10", "11", "13"]
    assert {prompt.labels["harmful"] for prompt in safe} == {False}
    unsafe = "\n".join(line for line in XSTEST.splitlines() if ",safe," not in line)
    with pytest.raises(BadInputError, match="holds no safe prompts"):
        xstest.read_safe(write(tmp_path / "u.csv", unsafe))


def test_without_focus_words_types_of_one_length_are_paired_by_place(tmp_path: Path) -> None:
    """As in the hub's copy, which has ids like v2-1 and neither label nor focus."""
    rows = [line.rsplit(",", 3)[0] for line in XSTEST.splitlines()[1:]]
    text = "id,prompt,type\n" + "".join(f"v2-{row}\n" for row in rows if not row.startswith("3"))
    prompts = xstest.read(write(tmp_path / "x.csv", text))
    assert list(groups(prompts).values())[:4] == ["xstest-homonyms-01", "xstest-homonyms-02"] * 2
    assert groups(prompts)["xstest-010"] == "xstest-010"
    assert [prompt.labels["harmful"] for prompt in prompts][:4] == [False, False, True, True]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("homonyms,safe,boil,kitchen", "homonyms,sage,boil,", "line 2: the label is safe or unsa"),
        ("homonyms,safe,boil,kitchen", "homonyms,unsafe,boil,", "line 2: the label does not fit"),
        ("2,How", "1,How", "line 3: the field 'id' must be unique, and .*line 2 already"),
        ("2,How", "b,How", "line 3: the id must be a number"),
        ("prompt,type", "prompt,kind", "lacks the column 'type'"),
        ("privacy_public", "", "line 11: the column 'type' is empty"),
    ],
)
def test_a_malformed_xstest_row_is_named(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    path = write(tmp_path / "x.csv", XSTEST.replace(old, new, 1))
    with pytest.raises(BadInputError, match=sentence):
        xstest.read(path)
