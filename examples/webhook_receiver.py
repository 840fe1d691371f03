#!/usr/bin/env python3
"""A receiver of Arbiter's notifications that checks their signatures; needs the standard library alone.

    python3 examples/webhook_receiver.py SECRET_FILE [PORT]

Arbiter posts to it with `notify.url = "http://127.0.0.1:PORT/"` and `notify.secret_file = "SECRET_FILE"`. The
signature is that of standardwebhooks.com: HMAC-SHA256 over `id.timestamp.body` in the header
`webhook-signature`. Prints a line for each accepted notification; refuses others with 401. A notification is
sent again if its answer is lost, so a receiver that acts on it has to remember the ids it has seen.
"""

import base64
import binascii
import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How far the sender's clock may be off, in seconds; older notifications may be replays.
TOLERANCE_SEC = 300
# The largest body that is read, in bytes.
MAX_BODY = 1 << 20


def read_key(path):
    """The key in a secret file: the bytes after `whsec_` in base64, or else the text itself."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except OSError as error:
        sys.exit(f"error: could not read the secret file: {error}")
    if not text:
        sys.exit(f"error: the secret file {path} is empty")
    if text.startswith("whsec_"):
        try:
            return base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return text.encode()


def is_genuine(key, headers, body):
    """Returns whether one of the signatures is that of this body, sent now."""
    identifier, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isascii() or not timestamp.isdigit():
        return False
    if abs(time.time() - int(timestamp)) > TOLERANCE_SEC:
        return False
    signed = f"{identifier}.{timestamp}.".encode() + body
    wanted = b"v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(wanted, one) for one in given)


def handler(key):
    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_POST(self):
            length = self.headers.get("content-length", "")
            if not length.isdigit() or int(length) > MAX_BODY:
                return self.answer(413)
            body = self.rfile.read(int(length))
            if not is_genuine(key, self.headers, body):
                return self.answer(401)
            event = json.loads(body)
            print(self.headers["webhook-id"], event["type"], event["subject"], flush=True)
            return self.answer(204)

        def answer(self, status):
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("error: no secret file given; usage: webhook_receiver.py SECRET_FILE [PORT]")
    key = read_key(sys.argv[1])
    port = int(sys.argv[2]) if len(sys.argv) == 3 else 0
    with ThreadingHTTPServer(("127.0.0.1", port), handler(key)) as server:
        print(f"listening on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
