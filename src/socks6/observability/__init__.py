"""What operators see of events: the log."""
