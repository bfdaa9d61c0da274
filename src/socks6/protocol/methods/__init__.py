"""Authentication methods as small machines, for both sides."""
