"""A mail server in the test's process that takes every message, and says what it was given."""

from __future__ import annotations

import email
import email.policy
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage


@dataclass
class Mailbox:
    """Messages as they came."""

    address: str = ""
    """`HOST:PORT`."""
    refuses: bool = False
    """Whether no recipient is known."""
    to: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)


@contextmanager
def receiving_mail() -> Iterator[Mailbox]:
    """Run a server on a free port of 127.0.0.1: plain SMTP (RFC 5321), without extensions."""
    mailbox = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 test")
            while line := self.rfile.readline():
                word = line[:4].upper()
                if word == b"RCPT":
                    if mailbox.refuses:
                        self.say("550 no such mailbox")
                        continue
                    mailbox.to.append(line.decode().split("<")[1].split(">")[0])
                elif word == b"DATA":
                    self.say("354 go on")
                    body = b""
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        body += part.removeprefix(b".")
                    found = email.message_from_bytes(body, policy=email.policy.default)
                    mailbox.mails.append(found)
                elif word == b"QUIT":
                    self.say("221 bye")
                    return
                self.say("250 ok")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        mailbox.address = f"127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield mailbox
        finally:
            server.shutdown()
            thread.join()
