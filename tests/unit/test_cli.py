"""The commands' thin skin: a configuration file is where flags start from."""

from __future__ import annotations

import json

from trait_probe.experiments import _cli
from trait_probe.experiments._backdoor.config import Config


def test_flags_override_the_configuration_file_and_nothing_else_does(tmp_path):
    path = tmp_path / "config.json"
    given = {"suspect": "organism:clean", "n_carriers": 64, "controls": ["In 2011,", "In 2015,"]}
    path.write_text(json.dumps(given))
    seen = []

    def run(config, out):
        seen.append((config, out))

    code = _cli.main(
        Config,
        run,
        prog="x",
        description="",
        argv=["--config", str(path), "--n-boot", "300", "--out", str(tmp_path / "run")],
    )
    assert code == 0
    expected = Config(**given, n_boot=300)
    assert seen == [(expected, tmp_path / "run")]
