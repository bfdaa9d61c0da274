"""What may happen when: machines without input or output."""
