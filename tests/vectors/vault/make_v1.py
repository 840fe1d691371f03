#!/usr/bin/env python3
"""Writes key files of version 1, in both forms, and what a reader has to find in them.

Shares no code with the vault it is for: PBKDF2 and AES-GCM come from the package `cryptography`.
Run it where it lies: python3 make_v1.py. Salts and nonces come from a fixed seed, so that another run
writes the same bytes; a real key file draws them from the system.
"""

import base64
import hashlib
import json
import pathlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

HERE = pathlib.Path(__file__).parent
ROUNDS = 100_000
PASSWORD = "correct horse battery staple"
FOREIGN = "the password of another file"
COUNTER = 0


def drawn(length):
    """The next bytes of a fixed sequence."""
    global COUNTER
    COUNTER += 1
    return hashlib.shake_256(f"key file vectors {COUNTER}".encode()).digest(length)


def derived(password, salt):
    kdf = PBKDF2HMAC(algorithm=hashes.SHA256(), length=32, salt=salt, iterations=ROUNDS)
    return kdf.derive(password.encode())


def sealed(password, text):
    salt, nonce = drawn(32), drawn(12)
    ciphertext = AESGCM(derived(password, salt)).encrypt(nonce, text.encode(), None)
    return base64.b64encode(salt + nonce + ciphertext).decode()


def entry(identity, name, description, text, created, updated, password=PASSWORD):
    return {
        "id": identity,
        "name": name,
        "description": description,
        "encrypted_data": sealed(password, text),
        "created_at": created,
        "updated_at": updated,
    }


# id, name, description, content, created and updated as written, both as a reader shows them
ENTRIES = [
    ("openai-gpt4", "OpenAI GPT-4", "OpenAI GPT-4 API", "sk-openai-0123456789",
     "2025-01-02T03:04:05.123456789+01:00", "2025-01-02T03:04:05Z",
     "2025-01-02T02:04:05.123Z", "2025-01-02T03:04:05.000Z"),
    ("my key/with spaces", "A key", "", "sk with spaces / and slashes",
     "2024-02-29T23:59:59-11:00", "2024-12-31T23:00:00.5-01:30",
     "2024-03-01T10:59:59.000Z", "2025-01-01T00:30:00.500Z"),
    ("schlüssel-鍵-🔑", "Ключ", "Unicode in every field", "пароль-秘密-🔑",
     "2025-06-15T12:00:00+05:45", "2025-06-15T12:00:00+14:00",
     "2025-06-15T06:15:00.000Z", "2025-06-14T22:00:00.000Z"),
    ("quote\"back\\slash\ttab", "Escapes", "line\nbreak", "sk-\"escaped\"\\",
     "2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000000001Z",
     "2025-01-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z"),
    ("empty", "", "an empty key", "",
     "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z",
     "2025-01-01T00:00:00.000Z", "2025-01-01T00:00:00.000Z"),
]
FOREIGN_ENTRY = ("of another file", "Foreign", "written under another password", "sk-foreign",
                 "2025-01-01T00:00:00Z", "2025-01-01T00:00:00Z")


def keys():
    made = {e[0]: entry(*e[:6]) for e in ENTRIES}
    made[FOREIGN_ENTRY[0]] = entry(*FOREIGN_ENTRY, password=FOREIGN)
    return made


def check():
    salt = drawn(32)
    return {
        "version": "1.0",
        "password_salt": base64.b64encode(salt).decode(),
        "password_verify": base64.b64encode(derived(PASSWORD, salt)).decode(),
    }


def write(name, content):
    text = json.dumps(content, ensure_ascii=False, indent=2)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main():
    shown = [
        {"id": e[0], "name": e[1], "description": e[2], "value": e[3], "created_at": e[6], "updated_at": e[7]}
        for e in ENTRIES
    ]
    with_keys = {"password": PASSWORD, "entries": shown, "unreadable": [FOREIGN_ENTRY[0]]}
    without = {"password": PASSWORD, "entries": [], "unreadable": []}
    write("v1-plain.json", {"keys": keys()})
    write("v1-checked.json", {**check(), "keys": keys()})
    write("v1-checked-null.json", {**check(), "keys": None})
    expected = {"v1-plain.json": with_keys, "v1-checked.json": with_keys, "v1-checked-null.json": without}
    write("expected.json", expected)


main()
