"""The acts that the audit log knows, in words."""

from __future__ import annotations

from collections.abc import Mapping

# Reads as "WHO … WHOM": ann signed in; boss changed the person bob.
WORDS: Mapping[str, str] = {
    "account-made": "made an account by naming it",
    "address-changed": "changed the address for notices",
    "browser-forgotten": "forgot a remembered browser",
    "card-assigned": "assigned the card",
    "card-claimed": "claimed the card",
    "card-deleted": "deleted the card",
    "card-code-refused": "gave a code that is none of the card",
    "card-found": "found the card",
    "card-lent": "lent the card",
    "card-lost": "reported lost the card",
    "card-registered": "registered the card",
    "card-replaced": "replaced the card",
    "card-resynchronised": "resynchronised the card",
    "card-retired": "retired the card",
    "card-returned": "took the card back",
    "card-taken-back": "took the card back",
    "card-undone": "undid the last act on the card",
    "card-unlocked": "ended the pause of the card",
    "card-certified": "signed a certificate of the card",
    "chain-closed": "pruned a chain of the log wholly:",
    "chain-goes-on": "goes on with a chain of the log:",
    "chain-opened": "began a chain of the log",
    "credential-added": "made the credential",
    "credential-revoked": "revoked the credential",
    "desk-refused": "was refused at the desk",
    "directory-not-read": "could not take over the directory of",
    "factor-checked": "showed a second factor",
    "firm-added": "added the firm",
    "group-added": "added the directory's group",
    "group-changed": "changed the directory's group",
    "group-deleted": "deleted the directory's group",
    "hand-over-agreed": "agreed to the card of",
    "hand-over-asked": "asked for a card for",
    "help-agreed": "agreed to a recovery of",
    "help-asked": "asked for a recovery of",
    "help-code-made": "had a help code made for",
    "help-code-used": "used a help code of",
    "help-code-wrong": "gave a wrong help code for",
    "invitation-used": "used an invitation of",
    "invitation-withdrawn": "withdrew the invitation of",
    "key-refused": "was refused a security key:",
    "key-retired": "forgot the encryption key",
    "keys-rotated": "made the encryption key",
    "limit-reached": "was refused by a limit:",
    "lockout-lifted": "ended the pauses of",
    "logo-changed": "changed the logo of the firm",
    "log-exported": "exported the log",
    "log-pruned": "pruned the log",
    "method-enrolled": "enrolled a way to sign in",
    "method-removed": "removed a way to sign in",
    "method-renamed": "renamed a way to sign in",
    "oidc-client-added": "added the service",
    "oidc-client-changed": "changed the service",
    "oidc-client-removed": "removed the service",
    "oidc-logout-failed": "could not tell of a sign-out the service",
    "oidc-logout-refused": "told of a sign-out, in vain, the service",
    "oidc-logout-told": "told of a sign-out the service",
    "oidc-signed-in": "signed in to the service",
    "method-voided": "voided a method of",
    "password-changed": "has a new password:",
    "password-wrong": "gave a wrong password",
    "people-exported": "exported the list of people:",
    "people-imported": "imported a list of people:",
    "people-merged": "merged another account into that of",
    "person-added": "added the person",
    "person-changed": "changed the person",
    "person-deleted": "deleted the person",
    "person-invited": "invited",
    "person-left": "took everything away from the leaver",
    "person-reminded": "reminded of a second factor:",
    "policy-changed": "changed the policy",
    "recovery-begun": "began a recovery of",
    "recovery-wrong": "gave a wrong code in a recovery of",
    "restore-confirmed": "confirmed what was restored",
    "restored": "restored the backup",
    "resynchronised": "resynchronised the card",
    "session-ended": "ended a session of",
    "sessions-ended": "signed out everywhere",
    "signed-in": "signed in",
    "signed-out": "signed out",
    "serials-reserved": "was given the serial numbers from",
    "signer-added": "lets sign tickets:",
    "signer-revoked": "no longer lets sign tickets:",
    "signing-key-made": "made the signing key",
    "ticket-ended": "ended the job of the ticket",
    "ticket-taken": "came with the ticket",
    "token-wrong": "came with a wrong token",
    "verified": "asked about a code of",
}

# What somebody who has no business here does: a line in the log for each.
FAILURES = frozenset(
    {"help-code-wrong", "limit-reached", "password-wrong", "recovery-wrong", "token-wrong"}
)


def in_words(act: str) -> str:
    """An act that has no words yet is readable, too."""
    return WORDS.get(act) or act.replace("-", " ")


def failed(act: str, facts: Mapping[str, object]) -> bool:
    """Whether an entry tells of a failed try to get in."""
    return act in FAILURES or (act == "factor-checked" and facts.get("reason") == "wrong")
