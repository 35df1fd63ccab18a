#!/usr/bin/python3
"""What a hostile build tries, whatever it is written in: `attempts.py STAGE`.

Each attempt leaves a line in the file `report`: what it brought back, "through", or the error. Whether it really got
through is looked at from outside: inside, a private home takes everything.
"""

import json
import os
import signal
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(HERE)
HOME = os.environ["HOME"]
with open(os.path.join(HERE, "targets.json"), encoding="utf-8") as file:
    TARGETS = json.load(file)


def contents(path):
    with open(path, "rb") as wanted:
        return wanted.read()


def environment():
    return os.environb[b"AWS_SECRET_ACCESS_KEY"]


def environments_of_others():
    """PID 1 of a sandbox once was a program with the caller's environment."""
    secrets, refused = set(), {}
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            if int(pid) != os.getpid():
                variables = contents(f"/proc/{pid}/environ").split(b"\0")
                secrets.update(one for one in variables if one.startswith(b"AWS_SECRET_ACCESS_KEY="))
        except OSError as error:
            refused[pid] = error.strerror
    if not secrets:
        raise LookupError(f"in no other process; {refused}")
    return b" ".join(secrets)


def append(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a", encoding="utf-8") as hook:
        hook.write(f"# {TARGETS['mark']}\n")


def put_in_place(path):
    new = os.path.join(HERE, "new")
    append(new)
    try:
        os.replace(new, path)
    finally:
        if os.path.exists(new):
            os.remove(new)


def plant(top, name):
    """As it is, by putting another file in its place, or by moving away what it lies in."""
    path, ways = os.path.join(top, name), [append, put_in_place]

    def move_away(depth):
        above = os.path.join(top, *name.split("/")[:depth])

        def way(_):
            os.rename(above, f"{above}.away")
            append(path)

        return way

    ways += map(move_away, range(name.count("/") + 1, 0, -1))
    errors = []
    for way in ways:
        try:
            way(path)
            return b"through"
        except OSError as error:
            errors.append(error.strerror)
    raise LookupError("; ".join(errors))


def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(address)
    return b"through"


def kill():
    pid = TARGETS["pid"]
    # In a PID namespace the number may be that of a process of the build.
    command = contents(f"/proc/{pid}/cmdline") if os.path.exists(f"/proc/{pid}") else b""
    if command and TARGETS["argument"].encode() not in command:
        raise LookupError("another process has its number here")
    os.kill(pid, signal.SIGKILL)
    return b"through"


def kill_everybody():
    """Only where that can't be the machine's own processes."""
    if os.readlink("/proc/self/ns/pid") == TARGETS["pid_namespace"]:
        sys.exit("the host's processes are in reach")
    os.kill(-1, signal.SIGKILL)


def attempts():
    yield "key", lambda: contents(os.path.join(HOME, ".ssh/id_ed25519"))
    yield "environment", environment
    yield "environments of others", environments_of_others
    for name in TARGETS["home_hooks"]:
        yield f"~/{name}", lambda name=name: plant(HOME, name)
    for name in TARGETS["project_hooks"]:
        yield name, lambda name=name: plant(PROJECT, name)
    yield "127.0.0.1", lambda: connect(socket.AF_INET, ("127.0.0.1", TARGETS["port"]))
    yield "::1", lambda: connect(socket.AF_INET6, ("::1", TARGETS["port6"]))
    yield "abstract socket", lambda: connect(socket.AF_UNIX, "\0" + TARGETS["abstract"])
    yield "socket in the home", lambda: connect(socket.AF_UNIX, os.path.join(HOME, TARGETS["socket"]))
    yield "process", kill


def main():
    if sys.argv[1] == "--everybody":
        kill_everybody()
        return
    with open(os.path.join(HERE, "report"), "ab") as report:
        for name, attempt in attempts():
            try:
                result = attempt().replace(b"\n", b" ")
            except (OSError, LookupError) as error:
                result = repr(error).encode()
            report.write(b"%s: %s: %s\n" % (sys.argv[1].encode(), name.encode(), result))


main()
