"""What the card and whoever talks to it must agree on: reference/protocols.md, sections 2 and 3.

Numbers and byte strings only, so that the host's tests can read this file with any Python.
"""

from micropython import const

# Applets
AID_ISSUER = b"\xa0\x00\x00\x01\x51\x00\x00\x00"
AID_OATH = b"\xa0\x00\x00\x05\x27\x21\x01"
# Clients ask for 5.6.3 before they open a secure channel to the applet.
OATH_VERSION = b"\x05\x07\x00"

# T=1 (ISO/IEC 7816-3, clause 11)
BAUD = const(115200)
INF_MAX = const(254)
CHARACTER_TIMEOUT_MS = const(100)
BLOCK_WAITING_TIME_MS = const(1000)
PRESS_TIMEOUT_MS = const(30000)
S_RESYNCH = const(0)
S_IFS = const(1)
S_ABORT = const(2)
S_WTX = const(3)
R_OK = const(0)
R_EDC = const(1)
R_OTHER = const(2)

# Class bits
CLA_ISO = const(0x00)
CLA_GP = const(0x80)
CLA_SECURE = const(0x04)
CLA_CHAINING = const(0x10)

# Instructions: both applets
INS_SELECT = const(0xA4)
INS_INITIALIZE_UPDATE = const(0x50)
INS_EXTERNAL_AUTHENTICATE = const(0x82)
INS_GET_RESPONSE = const(0xC0)
INS_SEND_REMAINING = const(0xA5)
# Issuer
INS_GET_DATA = const(0xCA)
INS_GET_CHALLENGE = const(0x84)
INS_PUT_KEY = const(0xD8)
INS_SET_STATUS = const(0xF0)
INS_GET_STATUS = const(0xF2)
INS_INSTALL = const(0xE6)
INS_LOAD = const(0xE8)
INS_SELF_TEST = const(0xEE)
# OATH
INS_PUT = const(0x01)
INS_DELETE = const(0x02)
INS_RESET = const(0x04)
INS_RENAME = const(0x05)
INS_LIST = const(0xA1)
INS_CALCULATE = const(0xA2)
INS_CALCULATE_ALL = const(0xA4)

# GET DATA
DATA_SERIAL = const(0xDF20)
DATA_VERSION = const(0xDF21)
DATA_CELL = const(0xDF22)
DATA_WEAR = const(0xDF23)
DATA_LIFE_CYCLE = const(0xDF24)
DATA_IMAGE = const(0xDF25)
DATA_FORMAT = const(0xDF26)
DATA_KEYS = const(0x00E0)

# OATH tags
TAG_NAME = const(0x71)
TAG_NAME_LIST = const(0x72)
TAG_KEY = const(0x73)
TAG_CHALLENGE = const(0x74)
TAG_RESPONSE = const(0x75)
TAG_TRUNCATED = const(0x76)
TAG_HOTP = const(0x77)
TAG_PROPERTY = const(0x78)
TAG_VERSION = const(0x79)
TAG_MOVING_FACTOR = const(0x7A)
HOTP_SHA1 = const(0x11)
PROPERTY_TOUCH = const(0x02)
NAME_MAX = const(64)
SECRET_MIN = const(16)
SECRET_MAX = const(64)
DIGITS_MIN = const(6)
DIGITS_MAX = const(8)

# Update in the field: docs/reference/updates.md
INSTALL_LOAD = const(0x02)
INSTALL_SWITCH = const(0x0C)
INSTALL_CONFIRM = const(0x40)
IMAGE_MAGIC = b"TSIM"
IMAGE_FORMAT = const(1)
IMAGE_CARD = const(1)
IMAGE_READER = const(2)
IMAGE_HEADER = const(64)
IMAGE_SIGNATURE = const(64)
LOAD_MAX = const(256)
# Bring-up: docs/reference/boards.md
TEST_DARK = const(0)
TEST_PATTERN = const(1)
TEST_BUTTON = const(2)
TEST_FLASH = const(3)
TEST_HEAP = const(4)
# Boot record
CONFIRMED = const(1)
TRIAL = const(2)
TRIED = const(3)

# SCP03 and keys
SCP_VERSION = const(0x03)
SCP_I = const(0x60)
SCP_LEVEL = const(0x33)
SCP_LEVELS = b"\x01\x03\x11\x13\x33"
SCP_C_DECRYPTION = const(0x02)
SCP_R_MAC = const(0x10)
SCP_R_ENCRYPTION = const(0x20)
SLOW_AFTER = const(3)
WRONG_MAX = const(10)
KEY_TYPE_AES = const(0x88)
KVN_TRANSPORT = const(0xFF)
KVN_FIRM_MAX = const(0x7F)
CELL_NORMAL = const(0)
CELL_LOW = const(1)
CELL_CRITICAL = const(2)

# Life cycle
OP_READY = const(0x01)
INITIALIZED = const(0x07)
SECURED = const(0x0F)
TERMINATED = const(0xFF)

# Status words
SW_OK = const(0x9000)
SW_MORE = const(0x6100)
SW_NOT_AUTHENTICATED = const(0x6300)
SW_FLASH = const(0x6581)
SW_LENGTH = const(0x6700)
SW_NO_CHAINING = const(0x6884)
SW_SECURITY = const(0x6982)
SW_BLOCKED = const(0x6983)
SW_NO_CREDENTIAL = const(0x6984)
SW_CONDITIONS = const(0x6985)
SW_SECURE_MESSAGING = const(0x6988)
SW_DATA = const(0x6A80)
SW_NO_APPLET = const(0x6A82)
SW_NO_SPACE = const(0x6A84)
SW_P1P2 = const(0x6A86)
SW_NO_DATA = const(0x6A88)
SW_INSTRUCTION = const(0x6D00)
SW_CLASS = const(0x6E00)
SW_INTERNAL = const(0x6F00)
