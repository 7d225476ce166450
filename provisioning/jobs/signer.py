"""The key of somebody who signs job tickets: Ed25519, in a file that a passphrase opens. Its public
half lies beside it, for the server."""

from __future__ import annotations

import json
from pathlib import Path

from tallystick.common import chance, signed
from tallystick.common.errors import BadInputError
from tallystick.common.process import shut_in
from tallystick.common.sealed import seal, unseal
from tallystick.common.secret import Secret
from tallystick.provisioning.durable import write_durably

FORMAT = "tallystick signer key 1"
MAKE = "tally station job key"


def create(path: Path, name: str, passphrase: str) -> Path:
    """→ the file with the public key, which is no secret. Raises BadInputError when one of the two
    files exists."""
    public_path = path.with_suffix(".pub.json")
    for one in (path, public_path):
        if one.exists():
            raise BadInputError(f"{one} exists already.", kept="It was not touched.")
    shut_in()
    private = Secret(chance.token_bytes(signed.KEY_SIZE))
    try:
        public = signed.public_of(private.reveal())
        jwk = {**signed.to_jwk(public), "kid": signed.key_id(public), "name": name}
        clear = {"format": FORMAT, "public": jwk}
        write_durably(path, seal(private.reveal(), passphrase, clear))
    finally:
        private.wipe()
    public_path.write_text(json.dumps(jwk, indent=2) + "\n", encoding="utf-8")
    return public_path


def load(path: Path, passphrase: str) -> Secret:
    """The private key. Raises BadInputError."""
    shut_in()
    plain = unseal(path, passphrase, FORMAT, name="signer's key", make=MAKE)
    key = Secret(plain)
    plain[:] = bytes(len(plain))
    return key
