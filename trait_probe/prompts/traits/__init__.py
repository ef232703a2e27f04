"""The shipped traits: one YAML file a trait, in plain English and in the organisms' language."""
