"""Other libraries' connections through a proxy: one module for each library, and an extra of the same name that installs it."""
