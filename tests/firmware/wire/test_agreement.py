"""Both sides of the wire use the same numbers: the station's are held to firmware/lib/wire.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tallystick.provisioning.card import connection, issuer, oath, scp03, t1

SOURCE = (Path(__file__).parents[3] / "firmware/lib/wire.py").read_text()


def read_wire() -> SimpleNamespace:
    names = {"const": lambda value: value}
    body = SOURCE.replace("from micropython import const", "")
    exec(compile(body, "wire.py", "exec"), names)
    return SimpleNamespace(**names)


WIRE = read_wire()

PAIRS = {
    "AID_ISSUER": issuer.AID,
    "AID_OATH": oath.AID,
    "KVN_TRANSPORT": issuer.TRANSPORT_KEYS,
    "INF_MAX": t1.MAX_FIELD,
    "BLOCK_WAITING_TIME_MS": t1.BLOCK_WAITING_S * 1000,
    "CHARACTER_TIMEOUT_MS": t1.CHARACTER_WAITING_S * 1000,
    "S_RESYNCH": t1.SType.RESYNCH,
    "S_IFS": t1.SType.IFS,
    "S_ABORT": t1.SType.ABORT,
    "S_WTX": t1.SType.WTX,
    "SCP_LEVEL": scp03.LEVEL,
    "INS_GET_RESPONSE": connection.INS_GET_RESPONSE,
    "INS_SEND_REMAINING": connection.INS_SEND_REMAINING,
    "INS_PUT": oath.INS_PUT,
    "INS_DELETE": oath.INS_DELETE,
    "INS_RESET": oath.INS_RESET,
    "INS_LIST": oath.INS_LIST,
    "INS_CALCULATE": oath.INS_CALCULATE,
    "TAG_NAME": oath.TAG_NAME,
    "TAG_NAME_LIST": oath.TAG_NAME_LIST,
    "TAG_KEY": oath.TAG_KEY,
    "TAG_CHALLENGE": oath.TAG_CHALLENGE,
    "TAG_TRUNCATED": oath.TAG_TRUNCATED,
    "TAG_VERSION": oath.TAG_VERSION,
    "HOTP_SHA1": oath.HOTP_SHA1,
    "DATA_SERIAL": issuer.DataObject.SERIAL,
    "DATA_VERSION": issuer.DataObject.VERSION,
    "DATA_CELL": issuer.DataObject.CELL,
    "DATA_WEAR": issuer.DataObject.WEAR,
    "DATA_LIFE_CYCLE": issuer.DataObject.LIFE_CYCLE,
    "DATA_KEYS": issuer.DataObject.KEY_INFORMATION,
    "OP_READY": issuer.LifeCycle.OP_READY,
    "INITIALIZED": issuer.LifeCycle.INITIALIZED,
    "SECURED": issuer.LifeCycle.SECURED,
    "TERMINATED": issuer.LifeCycle.TERMINATED,
    "CELL_NORMAL": issuer.CellState.NORMAL,
    "CELL_LOW": issuer.CellState.LOW,
    "CELL_CRITICAL": issuer.CellState.CRITICAL,
    "SW_OK": connection.StatusWord.OK,
    "SW_FLASH": connection.StatusWord.FLASH_FAILURE,
    "SW_LENGTH": connection.StatusWord.WRONG_LENGTH,
    "SW_SECURITY": connection.StatusWord.SECURITY_NOT_SATISFIED,
    "SW_NO_CREDENTIAL": connection.StatusWord.NO_SUCH_CREDENTIAL,
    "SW_CONDITIONS": connection.StatusWord.CONDITIONS_NOT_SATISFIED,
    "SW_SECURE_MESSAGING": connection.StatusWord.SECURE_MESSAGING_INCORRECT,
    "SW_DATA": connection.StatusWord.INCORRECT_DATA,
    "SW_NO_APPLET": connection.StatusWord.APPLET_NOT_FOUND,
    "SW_NO_SPACE": connection.StatusWord.NO_SPACE,
    "SW_P1P2": connection.StatusWord.WRONG_P1P2,
    "SW_NO_DATA": connection.StatusWord.NO_SUCH_DATA,
    "SW_INSTRUCTION": connection.StatusWord.INS_NOT_SUPPORTED,
    "SW_CLASS": connection.StatusWord.CLA_NOT_SUPPORTED,
    "SW_INTERNAL": connection.StatusWord.INTERNAL,
}


@pytest.mark.parametrize("name", PAIRS)
def test_station_agrees(name):
    assert getattr(WIRE, name) == PAIRS[name]


@pytest.mark.parametrize("part", [issuer.DataObject, issuer.LifeCycle, issuer.CellState, t1.SType])
def test_no_member_is_left_out(part):
    compared = set(PAIRS.values())
    assert all(member in compared for member in part)


def test_every_applet_instruction_is_one_class_or_the_other():
    """Issuer commands are served under any applet, so no class and instruction are shared."""
    issuers = {(1, ins) for ins in (0x50, 0x82, 0xCA, 0xD8, 0xE6, 0xE8, 0xF0, 0xF2)} | {(0, 0x84)}
    oaths = {(0, ins) for ins in (0x01, 0x02, 0x04, 0xA1, 0xA2, 0xA4)}
    assert not issuers & oaths
