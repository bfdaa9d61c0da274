"""What clients speak to a proxy."""
