"""Steps of the backdoor experiment, in the order of its method section."""
