"""Instruction and confirmation codes of the R503 class (manual 1.2.2, chapters IV and V)."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    GEN_IMG = 0x01
    IMG2TZ = 0x02
    MATCH = 0x03
    SEARCH = 0x04
    REG_MODEL = 0x05
    STORE = 0x06
    LOAD = 0x07
    UP_CHAR = 0x08
    DOWN_CHAR = 0x09
    UP_IMAGE = 0x0A
    DOWN_IMAGE = 0x0B
    DELETE = 0x0C
    EMPTY = 0x0D
    SET_SYS_PARA = 0x0E
    READ_SYS_PARA = 0x0F
    SET_PWD = 0x12
    VFY_PWD = 0x13
    RANDOM = 0x14
    SET_ADDR = 0x15
    FAST_SEARCH = 0x1B
    TEMPLATE_NUM = 0x1D
    READ_INDEX_TABLE = 0x1F
    GET_IMAGE_EX = 0x28
    CANCEL = 0x30
    AUTO_ENROLL = 0x31
    AUTO_IDENTIFY = 0x32
    AURA_LED = 0x35
    CHECK_SENSOR = 0x36
    GET_ALG_VER = 0x39
    GET_FW_VER = 0x3A
    READ_PROD_INFO = 0x3C
    SOFT_RESET = 0x3D
    HANDSHAKE = 0x40
    ECHO = 0x53


class Confirm(IntEnum):
    OK = 0x00
    PACKET = 0x01
    NO_FINGER = 0x02
    CAPTURE = 0x03
    MESSY = 0x06
    FEW_FEATURES = 0x07
    NO_MATCH = 0x08
    NOT_FOUND = 0x09
    MERGE = 0x0A
    BAD_PAGE = 0x0B
    LOAD = 0x0C
    UPLOAD_TEMPLATE = 0x0D
    RECEIVE = 0x0E
    UPLOAD_IMAGE = 0x0F
    DELETE = 0x10
    CLEAR = 0x11
    WRONG_PASSWORD = 0x13
    NO_IMAGE = 0x15
    FLASH = 0x18
    BAD_REGISTER = 0x1A
    BAD_VALUE = 0x1B
    FULL = 0x1F
    ADDRESS = 0x20
    VERIFY_FIRST = 0x21
    EMPTY_TEMPLATE = 0x22
    LIBRARY_EMPTY = 0x24
    TIME_OUT = 0x26
    EXISTS = 0x27
    READY = 0x55  # Echo
    UNSUPPORTED = 0xFC


# Bytes after the confirmation code. Errors carry as many, so that a host can read a fixed length.
ANSWER_SIZE: dict[int, int] = {
    Code.MATCH: 2, Code.SEARCH: 4, Code.FAST_SEARCH: 4, Code.READ_SYS_PARA: 16, Code.RANDOM: 4,
    Code.TEMPLATE_NUM: 2, Code.READ_INDEX_TABLE: 32, Code.AUTO_ENROLL: 2, Code.AUTO_IDENTIFY: 5,
    Code.GET_ALG_VER: 32, Code.GET_FW_VER: 32, Code.READ_PROD_INFO: 46,
}  # fmt: skip

# Bytes after the instruction code, where there are any.
ARGUMENT_SIZES: dict[int, tuple[int, ...]] = {
    Code.IMG2TZ: (1,), Code.SEARCH: (5,), Code.FAST_SEARCH: (5,), Code.STORE: (3,), Code.LOAD: (3,),
    Code.UP_CHAR: (1,), Code.DOWN_CHAR: (1,), Code.DELETE: (4,), Code.SET_SYS_PARA: (2,),
    Code.SET_PWD: (4,), Code.VFY_PWD: (4,), Code.SET_ADDR: (4,), Code.READ_INDEX_TABLE: (1,),
    Code.AUTO_ENROLL: (5,), Code.AUTO_IDENTIFY: (5, 7), Code.AURA_LED: (4,),
}  # fmt: skip
