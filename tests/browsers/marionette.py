"""Runs a script in a Firefox that was started with --marionette, prints what it returns, and tells Firefox to quit."""

import json
import socket
import sys
import time


def connect():
    until = time.monotonic() + 150
    while True:
        try:
            return socket.create_connection(("127.0.0.1", 2828))
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def receive(pipe):
    """A message is its length, a colon and that many bytes."""
    length = b""
    while (byte := pipe.read(1)) != b":":
        length += byte
    return json.loads(pipe.read(int(length)))


def main():
    pipe = connect().makefile("rwb")
    receive(pipe)

    def call(number, name, parameters):
        message = json.dumps([0, number, name, parameters]).encode()
        pipe.write(b"%d:%s" % (len(message), message))
        pipe.flush()
        _, _, error, result = receive(pipe)
        if error:
            sys.exit(json.dumps(error))
        return result

    call(1, "WebDriver:NewSession", {})
    call(2, "Marionette:SetContext", {"value": "chrome"})
    result = call(3, "WebDriver:ExecuteScript", {"script": sys.argv[1], "args": []})
    print(json.dumps(result["value"]))
    call(4, "Marionette:Quit", {"flags": ["eAttemptQuit"]})


main()
