"""Stack options on real sockets: setting them, and reading back what is in force."""
