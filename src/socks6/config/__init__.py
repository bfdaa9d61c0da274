"""TOML and URLs to settings."""
