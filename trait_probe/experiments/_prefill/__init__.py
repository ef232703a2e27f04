"""Steps of the prefill experiment, in the order of its method section."""
