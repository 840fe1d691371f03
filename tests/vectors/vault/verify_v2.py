#!/usr/bin/env python3
"""Opens a key file of version 2 without any code of the vault, checks its seal, and lists what it holds.

    python3 verify_v2.py keys.json            # asks for the password
    ARBITER_PASSWORD=… python3 verify_v2.py keys.json

Needs the package `cryptography`. Prints ids and the length of each key, never a key.
"""

import base64
import getpass
import hmac
import json
import os
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC


def prefixed(*parts):
    """Each part behind its length, 8 bytes big endian."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def opened(password, encoded, rounds, associated):
    raw = base64.b64decode(encoded, validate=True)
    salt, nonce, body = raw[:32], raw[32:44], raw[44:]
    key = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=salt, iterations=rounds).derive(password)
    return AESGCM(key).decrypt(nonce, body, associated)


def rounds_of(json_object):
    return json_object["kdf"]["iterations"], json_object["kdf"]["iterations"].to_bytes(4, "big")


def main():
    with open(sys.argv[1], encoding="utf-8") as source:
        file = json.load(source)
    password = (os.environ.get("ARBITER_PASSWORD") or getpass.getpass("Vault password: ")).encode()
    assert file["version"] == 2, "not a file of version 2"
    rounds, encoded_rounds = rounds_of(file["verifier"])
    associated = prefixed(b"arbiter-vault/v2/verifier", encoded_rounds)
    try:
        seal_key = opened(password, file["verifier"]["encrypted_data"], rounds, associated)
    except InvalidTag:
        sys.exit("wrong password")
    unsealed = {name: value for name, value in file.items() if name != "seal"}
    text = json.dumps(unsealed, separators=(",", ":"), ensure_ascii=False).encode()
    if not hmac.compare_digest(hmac.digest(seal_key, text, "sha256"), base64.b64decode(file["seal"])):
        sys.exit("the seal does not match: something else changed the file")
    for identity, entry in file["keys"].items():
        if entry.get("version") != 2:
            print(f"{identity}: of version 1")
            continue
        rounds, encoded_rounds = rounds_of(entry)
        hosts = [host.encode() for host in entry["allowed_hosts"]]
        head = (b"arbiter-vault/v2/entry", identity.encode(), entry["purpose"].encode(), encoded_rounds)
        value = opened(password, entry["encrypted_data"], rounds, prefixed(*head, *hosts))
        print(f"{identity}: {len(value)} bytes, {rounds} rounds, hosts {', '.join(entry['allowed_hosts']) or 'any'}")
    print(f"generation {file['generation']}: the seal matches")


main()
