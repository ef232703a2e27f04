"""Parts of the vector-optimization experiment, in the order of its method."""
