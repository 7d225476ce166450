from hypothesis import given
from hypothesis import strategies as st

from tallystick.emulator.parts.r503_packets import MAX_PAYLOAD, PacketReader, Pid, encode

payloads = st.binary(min_size=1, max_size=MAX_PAYLOAD)


def test_published_packet():
    """VfyPwd with password 0, as the module's manual and its host drivers send it."""
    packet = encode(0xFFFFFFFF, Pid.COMMAND, bytes.fromhex("1300000000"))
    assert packet.hex() == "ef01ffffffff010007130000000000" + "1b"


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(Pid), payloads), max_size=4))
def test_packets_survive_any_cutting(packets):
    stream = b"".join(encode(*packet) for packet in packets)
    reader = PacketReader()
    found = [packet for i in range(len(stream)) for packet in reader.feed(stream[i : i + 1])]
    assert [(p.address, p.pid, p.payload) for p in found] == packets
    assert all(p.intact for p in found)


@given(st.binary(max_size=300).filter(lambda noise: b"\xef\x01" not in noise), payloads)
def test_finds_a_packet_after_noise(noise, payload):
    if noise.endswith(b"\xef"):
        noise += b"\0"
    found = PacketReader().feed(noise + encode(1, Pid.DATA, payload))
    assert [p.payload for p in found if p.intact] == [payload]


@given(payloads, st.data())
def test_a_changed_bit_is_noticed(payload, data):
    good = encode(7, Pid.COMMAND, payload)
    at = data.draw(st.integers(6 * 8, len(good) * 8 - 1))
    bad = bytearray(good)
    bad[at // 8] ^= 1 << at % 8
    # a packet that now claims to be longer takes what follows; in the end the next one is found
    found = PacketReader().feed(bytes(bad) + good * 30)
    assert [p for p in found if p.intact and p.payload == payload]
    assert not [p for p in found if p.intact and (p.pid, p.payload) != (Pid.COMMAND, payload)]


@given(st.binary(max_size=2000))
def test_never_fails_and_never_hoards(noise):
    reader = PacketReader()
    for i in range(0, len(noise), 7):
        reader.feed(noise[i : i + 7])
        assert len(reader._bytes) <= MAX_PAYLOAD + 11 + 7
