"""The steps of the emergent-misalignment experiment."""
