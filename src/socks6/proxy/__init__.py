"""The engine that serves clients."""
