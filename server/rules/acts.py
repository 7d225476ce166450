"""The acts that the audit log knows, in words."""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.server.wording.worded import worded

# Reads as "WHO … WHOM": ann signed in; boss changed the person bob.
WORDS: Mapping[str, str] = {
    "account-made": worded("made an account by naming it"),
    "address-changed": worded("changed the address for notices"),
    "browser-forgotten": worded("forgot a remembered browser"),
    "card-assigned": worded("assigned the card"),
    "card-claimed": worded("claimed the card"),
    "card-deleted": worded("deleted the card"),
    "card-code-refused": worded("gave a code for the card that was refused"),
    "card-found": worded("found the card"),
    "card-lent": worded("lent the card"),
    "card-lost": worded("reported lost the card"),
    "card-registered": worded("registered the card"),
    "card-replaced": worded("replaced the card"),
    "card-resynchronised": worded("resynchronised the card"),
    "card-retired": worded("retired the card"),
    "card-returned": worded("took the card back"),
    "card-taken-back": worded("took the card back"),
    "card-undone": worded("undid the last act on the card"),
    "card-unlocked": worded("ended the pause of the card"),
    "card-certified": worded("signed a certificate of the card"),
    "chain-closed": worded("pruned a chain of the log wholly:"),
    "chain-goes-on": worded("goes on with a chain of the log:"),
    "chain-opened": worded("began a chain of the log"),
    "credential-added": worded("made the credential"),
    "credential-revoked": worded("revoked the credential"),
    "desk-refused": worded("was refused at the desk"),
    "directory-not-read": worded("could not take over the directory of"),
    "enrol-only-session": worded("got a session that can only enrol"),
    "factor-checked": worded("showed a second factor"),
    "factor-missing": worded("was refused for want of a second factor"),
    "firm-added": worded("added the firm"),
    "group-added": worded("added the directory's group"),
    "group-changed": worded("changed the directory's group"),
    "group-deleted": worded("deleted the directory's group"),
    "hand-over-agreed": worded("agreed to the card of"),
    "hand-over-asked": worded("asked for a card for"),
    "hand-over-withdrawn": worded("withdrew the request of a card for"),
    "help-agreed": worded("agreed to a recovery of"),
    "help-asked": worded("asked for a recovery of"),
    "help-code-made": worded("had a help code made for"),
    "help-code-used": worded("used a help code of"),
    "help-code-wrong": worded("gave a wrong help code for"),
    "help-withdrawn": worded("withdrew the request to recover the account of"),
    "invitation-used": worded("used an invitation of"),
    "invitation-withdrawn": worded("withdrew the invitation of"),
    "key-refused": worded("was refused a security key:"),
    "key-unknown": worded("came with a security key that opens nothing here"),
    "key-unconfirmed": worded("came with a security key that its holder has not shown yet"),
    "key-retired": worded("forgot the encryption key"),
    "keys-rotated": worded("made the encryption key"),
    "limit-reached": worded("was refused by a limit:"),
    "lockout-lifted": worded("ended the pauses of"),
    "logo-changed": worded("changed the logo of the firm"),
    "log-exported": worded("exported the log"),
    "log-pruned": worded("pruned the log"),
    "method-enrolled": worded("enrolled a way to sign in"),
    "method-removed": worded("removed a way to sign in"),
    "method-renamed": worded("renamed a way to sign in"),
    "oidc-client-added": worded("added the service"),
    "oidc-client-changed": worded("changed the service"),
    "oidc-client-removed": worded("removed the service"),
    "oidc-logout-failed": worded("could not tell of a sign-out the service"),
    "oidc-logout-refused": worded("told of a sign-out, in vain, the service"),
    "oidc-logout-told": worded("told of a sign-out the service"),
    "oidc-tokens-ended": worded("ended, for a service, the sign-in of"),
    "oidc-signed-in": worded("signed in to the service"),
    "method-voided": worded("voided a method of"),
    "password-changed": worded("set the password of"),
    "password-wrong": worded("gave a wrong password"),
    "people-exported": worded("exported the list of people:"),
    "people-imported": worded("imported a list of people:"),
    "people-merged": worded("merged another account into that of"),
    "person-added": worded("added the person"),
    "person-changed": worded("changed the person"),
    "person-deleted": worded("deleted the person"),
    "person-invited": worded("invited"),
    "person-left": worded("took everything away from the leaver"),
    "person-reminded": worded("reminded of a second factor:"),
    "policy-changed": worded("changed the policy"),
    "recovery-begun": worded("began a recovery of"),
    "recovery-wrong": worded("gave a wrong code in a recovery of"),
    "restore-confirmed": worded("confirmed what was restored"),
    "restored": worded("restored the backup"),
    "resynchronised": worded("resynchronised the card"),
    "session-ended": worded("ended a session of"),
    "sessions-ended": worded("signed out everywhere"),
    "signed-in": worded("signed in"),
    "signed-out": worded("signed out"),
    "serials-reserved": worded("was given the serial numbers from"),
    "signer-added": worded("lets sign tickets:"),
    "signer-revoked": worded("no longer lets sign tickets:"),
    "signing-key-made": worded("made the signing key"),
    "ticket-ended": worded("ended the job of the ticket"),
    "ticket-taken": worded("came with the ticket"),
    "token-wrong": worded("came with a wrong token"),
    "verified": worded("asked about a code of"),
}

# What somebody who has no business here does: a line in the log for each.
FAILURES = frozenset(
    {
        "help-code-wrong",
        "key-unknown",
        "key-unconfirmed",
        "limit-reached",
        "password-wrong",
        "recovery-wrong",
        "token-wrong",
    }
)


def in_words(act: str) -> str:
    """An act that has no words yet is readable, too."""
    return WORDS.get(act) or act.replace("-", " ")


def stand_alone(act: str) -> bool:
    """Whether the words say all without whom: “ann signed in”, but not “ann ended a session of”."""
    return not in_words(act).endswith((":", " of", " for", " from"))


def failed(act: str, facts: Mapping[str, object]) -> bool:
    """Whether an entry tells of a failed try to get in."""
    return act in FAILURES or (act == "factor-checked" and facts.get("reason") == "wrong")
