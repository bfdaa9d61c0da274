"""Ways to carry a byte stream."""
