"""Numbers of CTAP 2.1 (FIDO Alliance, proposed standard of 15 June 2021), and of 2.2 where it is
said. In the image each name is replaced by its value, see tools/image/constants.py.
"""

from micropython import const

# Status codes, section 8.2.
OK = const(0x00)
INVALID_COMMAND = const(0x01)
INVALID_PARAMETER = const(0x02)
INVALID_LENGTH = const(0x03)
INVALID_SEQ = const(0x04)
UNEXPECTED_TYPE = const(0x11)
INVALID_CBOR = const(0x12)
MISSING_PARAMETER = const(0x14)
LIMIT_EXCEEDED = const(0x15)
FP_DATABASE_FULL = const(0x17)
LARGE_BLOB_STORAGE_FULL = const(0x18)
CREDENTIAL_EXCLUDED = const(0x19)
PROCESSING = const(0x21)
INVALID_CREDENTIAL = const(0x22)
UNSUPPORTED_ALGORITHM = const(0x26)
OPERATION_DENIED = const(0x27)
KEY_STORE_FULL = const(0x28)
UNSUPPORTED_OPTION = const(0x2B)
INVALID_OPTION = const(0x2C)
KEEPALIVE_CANCEL = const(0x2D)
NO_CREDENTIALS = const(0x2E)
USER_ACTION_TIMEOUT = const(0x2F)
NOT_ALLOWED = const(0x30)
PIN_INVALID = const(0x31)
PIN_BLOCKED = const(0x32)
PIN_AUTH_INVALID = const(0x33)
PIN_AUTH_BLOCKED = const(0x34)
PIN_NOT_SET = const(0x35)
PUAT_REQUIRED = const(0x36)
PIN_POLICY_VIOLATION = const(0x37)
REQUEST_TOO_LARGE = const(0x39)
UP_REQUIRED = const(0x3B)
UV_BLOCKED = const(0x3C)
INTEGRITY_FAILURE = const(0x3D)
INVALID_SUBCOMMAND = const(0x3E)
UV_INVALID = const(0x3F)
UNAUTHORIZED_PERMISSION = const(0x40)
OTHER = const(0x7F)
NEWER_STATE = const(0xF0)  # a vendor's own: another firmware wrote what is stored

# Commands, section 6.
MAKE_CREDENTIAL = const(0x01)
GET_ASSERTION = const(0x02)
GET_INFO = const(0x04)
CLIENT_PIN = const(0x06)
RESET = const(0x07)
GET_NEXT_ASSERTION = const(0x08)
BIO_ENROLLMENT = const(0x09)
CREDENTIAL_MANAGEMENT = const(0x0A)
SELECTION = const(0x0B)
LARGE_BLOBS = const(0x0C)
CONFIG = const(0x0D)
# The same as 09 and 0A, under the numbers of the specification's preview, which older platforms
# send.
BIO_ENROLLMENT_PREVIEW = const(0x40)
CREDENTIAL_MANAGEMENT_PREVIEW = const(0x41)

# Permissions of a token, 6.5.5.7.
MC = const(0x01)
GA = const(0x02)
CM = const(0x04)
BE = const(0x08)
LBW = const(0x10)
ACFG = const(0x20)
PCMR = const(0x40)  # of CTAP 2.2: lists of credentials, until the PIN is another one
ALL_PERMISSIONS = const(0x3F)

# COSE algorithms (RFC 9053, 2; RFC 8152).
ES256 = const(-7)
EDDSA = const(-8)

# Flags of authenticator data (WebAuthn 6.1).
UP = const(0x01)
UV = const(0x04)
AT = const(0x40)
ED = const(0x80)

# Limits of this reader.
MAX_MESSAGE = const(2048)
MAX_CREDENTIALS = const(128)
MAX_FINGERS = const(20)
MAX_NAME = const(64)
MAX_BLOBS = const(2048)
MAX_CRED_BLOB = const(32)
MAX_PARTIES = const(8)  # that may be told the least length of a PIN
PIN_RETRIES = const(8)
PIN_RETRIES_IN_A_ROW = const(3)
UV_RETRIES = const(5)
UV_TRIES_A_COMMAND = const(3)
TOUCH_MS = const(30000)
RESET_WINDOW_MS = const(10000)
TOKEN_MS = const(600000)
TOKEN_FIRST_USE_MS = const(30000)
