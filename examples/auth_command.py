"""A program for `socks6 server --auth-command`: it knows users from an SQLite database, each with limits.

socks6 server --listen mixed://127.0.0.1:1080 --auth-command 'python examples/auth_command.py users.sqlite'

A line of JSON comes for each login, and a line goes out. Questions may be answered in any order, by threads for instance;
this one answers them in turn. It ends when its input does.
"""

import hashlib
import hmac
import json
import sqlite3
import sys


def derive(password: str, salt: bytes) -> bytes:
    """Return what stands for a password in the database."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)


def answer(database: sqlite3.Connection, question: dict[str, str]) -> dict[str, object]:
    """Return whether a user may come in, and what it may use."""
    query = "SELECT salt, hash, down FROM users WHERE name = ?"
    row = database.execute(query, (question["name"],)).fetchone()
    salt, known, down = row or (b"", b"", 0)
    right = hmac.compare_digest(
        derive(question["password"], salt), known
    )  # also for a name that is not there
    if row is None:
        return {"ok": False, "unknown": True}
    return {"ok": True, "limits": {"down": down}} if right else {"ok": False}


def main() -> None:
    """Answer until there are no more questions."""
    with sqlite3.connect(sys.argv[1]) as database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, salt BLOB, hash BLOB, down INT)"
        )
        for line in sys.stdin:
            question = json.loads(line)
            try:
                found = answer(database, question)
            except sqlite3.Error as error:
                found = {"error": str(error)}
            print(json.dumps({"id": question["id"], **found}), flush=True)


if __name__ == "__main__":
    main()
