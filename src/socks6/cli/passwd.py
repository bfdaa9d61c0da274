"""socks6 passwd: makes a line for a users file."""

import sys
from argparse import Namespace
from getpass import getpass

from socks6.errors import ConfigurationError
from socks6.proxy.authentication.hashes import hash_password
from socks6.proxy.authentication.users_file import check_name, format_entry, set_entry


def run(arguments: Namespace) -> int:
    """Ask for the password, twice at a terminal; write the line to a users file, or to standard output."""
    check_name(arguments.name)
    password = read_password("password: ", again="the same again: ")
    hashed = hash_password(password)
    if arguments.file is None:
        print(format_entry(arguments.name, hashed))
    else:
        known = set_entry(arguments.file, arguments.name, hashed)
        print(f"{arguments.file}: {'changed' if known else 'added'} {arguments.name}")
    return 0


def read_password(prompt: str, *, again: str = "") -> str:
    """Return a password, typed without an echo, twice with `again`, or piped in. Raises ConfigurationError."""
    if not sys.stdin.isatty():
        try:
            return sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise ConfigurationError("the password is not UTF-8") from None
    password = getpass(prompt)
    if again and getpass(again) != password:
        raise ConfigurationError("these were two different passwords")
    return password
