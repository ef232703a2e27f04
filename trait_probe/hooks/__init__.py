"""What happens inside a forward pass."""
