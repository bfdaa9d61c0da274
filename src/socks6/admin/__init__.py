"""The admin interface of a proxy: who is connected, ending connections, penalties, events; by HTTP, for commands and programs."""
