"""The module on its wire: timing, refusals, power, password, noise."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.common.errors import BadInputError
from tallystick.emulator.clock import Clock
from tallystick.emulator.fingerprints.fingers import finger
from tallystick.emulator.fingerprints.impression import Press
from tallystick.emulator.parts.r503 import R503
from tallystick.emulator.parts.r503_codes import ANSWER_SIZE, Code, Confirm
from tallystick.emulator.parts.r503_flash import SensorFlash
from tallystick.emulator.parts.r503_packets import Pid, encode
from tests.emulator.fingerprints.host import Host

THUMB, INDEX = finger("right-thumb"), finger("left-index")
ALL = bytes.fromhex("01000000C8")  # buffer 1, every page
BYTE_US = 10 * 1_000_000 / 57_600


def take(host, master, buffer=1, turn=0.0):
    host.module.present(master, Press(turn_deg=turn))
    assert host.ask(Code.GET_IMAGE_EX).confirm == Confirm.OK
    answer = host.ask(Code.IMG2TZ, bytes([buffer]))
    host.module.lift()
    assert answer.confirm == Confirm.OK


def enrol(host, master, page, samples=3):
    for buffer in range(1, samples + 1):
        take(host, master, buffer, turn=4.0 * buffer)
    assert host.ask(Code.REG_MODEL).confirm == Confirm.OK
    assert host.ask(Code.STORE, b"\x01" + page.to_bytes(2, "big")).confirm == Confirm.OK


class TestTime:
    def test_start_takes_50_ms(self, virtual_clock, module):
        host = Host(module, virtual_clock)
        module.power(True)
        host.send(Code.HANDSHAKE)  # not heard: the module is starting
        assert host.run(lambda: bool(host.heard))
        assert (bytes(host.heard), virtual_clock.now) == (b"\x55", 50_000)
        host.wait(1_000_000)
        assert bytes(host.heard) == b"\x55"

    @pytest.mark.parametrize(
        ("code", "arguments", "work_us"),
        [
            (Code.GET_IMAGE_EX, b"", 200_000),
            (Code.IMG2TZ, b"\x01", 500_000),
            (Code.HANDSHAKE, b"", 0),
        ],
    )
    def test_commands_take_what_the_manual_says(self, host, code, arguments, work_us):
        take(host, THUMB)
        host.module.present(THUMB, Press())
        answer = host.ask(code, arguments)
        assert answer.confirm == Confirm.OK
        assert answer.us == work_us + round(12 * BYTE_US)

    def test_search_takes_10_ms_a_print(self, host, module):
        enrol(host, THUMB, 0)
        take(host, THUMB)
        for page in range(1, 7):
            module.flash.templates[page] = module.flash.templates[0]
        assert host.ask(Code.SEARCH, ALL).us == 70_000 + round(16 * BYTE_US)

    def test_a_pause_within_a_packet_drops_it(self, host):
        packet = encode(0xFFFFFFFF, Pid.COMMAND, bytes([Code.HANDSHAKE]))
        host.module.receive(packet[:9])
        host.wait(200_000)
        assert host.ask(Code.HANDSHAKE).confirm == Confirm.OK

    def test_a_command_during_another_waits(self, host, module):
        module.present(THUMB, Press())
        host.send(Code.GET_IMAGE_EX)
        host.send(Code.TEMPLATE_NUM)
        assert host.run(lambda: len(host.packets) == 2)
        assert [len(packet.payload) for packet in host.packets] == [1, 3]

    def test_current(self, virtual_clock):
        module = R503(virtual_clock)
        assert module.current_ua() == 2
        module.power(True)
        assert module.current_ua() == 20_000


class TestRefusals:
    def test_every_error_has_its_full_length(self, host, module):
        module.flash.password = 1
        module.power(False)
        host.power_up()
        for code, size in ANSWER_SIZE.items():
            answer = host.ask(code)
            assert (answer.confirm, len(answer.extra)) == (Confirm.VERIFY_FIRST, size)

    def test_damaged_packet(self, host):
        packet = bytearray(encode(0xFFFFFFFF, Pid.COMMAND, bytes([Code.HANDSHAKE])))
        packet[-1] ^= 1
        host.module.receive(bytes(packet))
        assert host.run(lambda: bool(host.packets))
        assert host.packets[0].payload == b"\x01"

    def test_other_address(self, host):
        host.module.receive(encode(5, Pid.COMMAND, bytes([Code.HANDSHAKE])))
        assert host.run(lambda: bool(host.packets))
        assert host.packets[0].payload == bytes([Confirm.ADDRESS])

    @pytest.mark.parametrize(
        ("code", "arguments", "confirm"),
        [
            (0x77, b"", Confirm.UNSUPPORTED),
            (Code.IMG2TZ, b"", Confirm.PACKET),
            (Code.IMG2TZ, b"\x01", Confirm.NO_IMAGE),
            (Code.IMG2TZ, b"\x07", Confirm.BAD_PAGE),
            (Code.REG_MODEL, b"", Confirm.MERGE),
            (Code.STORE, b"\x01\x00\x00", Confirm.EMPTY_TEMPLATE),
            (Code.STORE, b"\x01\x00\xc8", Confirm.BAD_PAGE),
            (Code.LOAD, b"\x01\x00\x00", Confirm.LOAD),
            (Code.LOAD, b"\x01\x00\xc8", Confirm.BAD_PAGE),
            (Code.DELETE, b"\x00\xc7\x00\x02", Confirm.BAD_PAGE),
            (Code.SEARCH, ALL, Confirm.NOT_FOUND),
            (Code.MATCH, b"", Confirm.NO_MATCH),
            (Code.SET_SYS_PARA, b"\x03\x01", Confirm.BAD_REGISTER),
            (Code.SET_SYS_PARA, b"\x05\x06", Confirm.BAD_VALUE),
            (Code.UP_CHAR, b"\x01", Confirm.UPLOAD_TEMPLATE),
            (Code.DOWN_CHAR, b"\x01", Confirm.RECEIVE),
            (Code.UP_IMAGE, b"", Confirm.UPLOAD_IMAGE),
            (Code.DOWN_IMAGE, b"", Confirm.RECEIVE),
            (Code.AURA_LED, b"\x09\x00\x01\x00", Confirm.PACKET),
            (Code.READ_INDEX_TABLE, b"\x04", Confirm.BAD_PAGE),
        ],
    )
    def test_refusal(self, host, code, arguments, confirm):
        assert host.ask(code, arguments).confirm == confirm

    def test_images_and_templates_stay_inside(self, host, module):
        take(host, THUMB)
        assert host.ask(Code.UP_CHAR, b"\x01").confirm == Confirm.UPLOAD_TEMPLATE
        assert host.ask(Code.UP_IMAGE).confirm == Confirm.UPLOAD_IMAGE
        host.wait(1_000_000)
        assert len(host.packets) == 1

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.lists(st.binary(max_size=40), max_size=6))
    def test_noise_leaves_the_module_answering(self, noise):
        clock = Clock()
        host = Host(R503(clock), clock)
        host.power_up()
        for data in noise:
            host.module.receive(data)
            host.wait(20_000)
        host.wait(30_000_000)
        assert host.ask(Code.ECHO).confirm == Confirm.READY

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, 255), st.binary(max_size=8))
    def test_any_command_gets_one_acknowledge_of_its_length(self, code, arguments):
        clock = Clock()
        host = Host(R503(clock), clock)
        host.power_up()
        answer = host.ask(code, arguments)
        assert len(answer.extra) == ANSWER_SIZE.get(code, 0)


class TestFlash:
    def test_templates_and_password_survive_power_off(self, host, module):
        enrol(host, THUMB, 5)
        assert host.ask(Code.SET_PWD, b"\0\0\0\x07").confirm == Confirm.OK
        module.power(False)
        host.power_up()
        assert host.ask(Code.TEMPLATE_NUM).confirm == Confirm.VERIFY_FIRST
        assert host.ask(Code.VFY_PWD, b"\0\0\0\x08").confirm == Confirm.WRONG_PASSWORD
        assert host.ask(Code.SEARCH, ALL).confirm == Confirm.VERIFY_FIRST
        assert host.ask(Code.VFY_PWD, b"\0\0\0\x07").confirm == Confirm.OK
        assert host.ask(Code.SEARCH, ALL).confirm == Confirm.NOT_FOUND  # buffers do not survive
        take(host, THUMB)
        assert host.ask(Code.SEARCH, ALL).extra[:2] == b"\0\x05"

    def test_power_cut_while_storing_leaves_the_old(self, host, module):
        enrol(host, THUMB, 0)
        kept = dict(module.flash.templates)
        take(host, INDEX)
        host.send(Code.STORE, b"\x01\x00\x00")
        host.wait(10_000)
        module.power(False)
        host.wait(1_000_000)
        assert module.flash.templates == kept

    def test_file_round_trip(self, host, module):
        enrol(host, THUMB, 3)
        module.flash.password = 0xA1B2C3D4
        assert SensorFlash.decode(module.flash.encode()) == module.flash

    @pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":"other"}', b"\xff"])
    def test_bad_file(self, data):
        with pytest.raises(BadInputError, match="cannot be read"):
            SensorFlash.decode(data)

    def test_secrets_do_not_show(self, host, module):
        enrol(host, THUMB, 3)
        module.flash.password = 0xA1B2C3D4
        assert "FMR" not in repr(module.flash)
        assert "2712847316" not in repr(module.flash)

    def test_index_table(self, host, module):
        enrol(host, THUMB, 9)
        table = host.ask(Code.READ_INDEX_TABLE, b"\0").extra
        assert int.from_bytes(table, "little") == 1 << 9

    def test_baud_rate_changes_after_the_acknowledge(self, host, module):
        answer = host.ask(Code.SET_SYS_PARA, b"\x04\x0c")
        assert answer.us == 30_000 + round(12 * BYTE_US)
        assert module.baud == 115_200
        assert host.ask(Code.HANDSHAKE).us == round(12 * BYTE_US / 2)


class TestFingers:
    def test_touch_is_felt_with_the_power_off(self, virtual_clock):
        felt = []
        module = R503(virtual_clock, on_touch=felt.append)
        module.present(THUMB)
        module.lift()
        module.lift()
        assert felt == [True, False]

    def test_a_wrong_finger_is_not_found(self, host):
        enrol(host, THUMB, 0)
        take(host, INDEX)
        answer = host.ask(Code.SEARCH, ALL)
        assert (answer.confirm, answer.extra) == (Confirm.NOT_FOUND, bytes(4))

    def test_the_same_seed_gives_the_same_run(self):
        def run():
            clock = Clock()
            host = Host(R503(clock, seed=4), clock)
            host.power_up()
            for _ in range(3):
                host.module.present(THUMB)
                host.ask(Code.GEN_IMG)
                host.ask(Code.IMG2TZ, b"\x01")
                host.module.lift()
            return bytes(host.heard), host.module.commands.memory.buffers

        assert run() == run()

    def test_lifting_and_returning_during_the_exposure_is_no_image(
        self, host, module, virtual_clock
    ):
        module.present(THUMB, Press())
        virtual_clock.after(50_000, module.lift)
        virtual_clock.after(60_000, lambda: module.present(THUMB, Press()))
        assert host.ask(Code.GEN_IMG).confirm == Confirm.CAPTURE

    def test_gen_img_takes_a_poor_image_and_get_image_ex_does_not(self, host, module):
        module.present(THUMB, Press(moisture=1.0, pressure=1.0))
        assert host.ask(Code.GEN_IMG).confirm == Confirm.OK
        assert host.ask(Code.GET_IMAGE_EX).confirm == Confirm.FEW_FEATURES

    def test_match_follows_the_security_level(self, host, module):
        take(host, THUMB, 1)
        take(host, THUMB, 2, turn=5)
        score = int.from_bytes(host.ask(Code.MATCH).extra, "big")
        assert score > 48
        take(host, INDEX, 2)
        answer = host.ask(Code.MATCH)
        assert (answer.confirm, answer.extra) == (Confirm.NO_MATCH, b"\0\0")


class TestAuto:
    def script(self, host, module, masters, hold_us=900_000, gap_us=300_000):
        """Fingers come and go by themselves."""
        at = 100_000
        for k, master in enumerate(masters):
            host.clock.after(at, lambda m=master, k=k: module.present(m, Press(turn_deg=3.0 * k)))
            host.clock.after(at + hold_us, module.lift)
            at += hold_us + gap_us

    def steps(self, host, code, arguments, count):
        host.packets.clear()
        host.send(code, arguments)
        host.run(lambda: len(host.packets) == count)
        host.wait(1_000_000)
        return [packet.payload for packet in host.packets]

    def test_enrol_reports_every_step(self, host, module):
        self.script(host, module, [THUMB] * 6)
        steps = self.steps(host, Code.AUTO_ENROLL, bytes([4, 0, 0, 1, 1]), 15)
        assert steps == [bytes([0, step, 4]) for step in range(1, 16)]
        assert list(module.flash.templates) == [4]

    def test_enrol_without_steps(self, host, module):
        self.script(host, module, [THUMB] * 6)
        steps = self.steps(host, Code.AUTO_ENROLL, bytes([4, 0, 0, 0, 1]), 1)
        assert steps == [bytes([0, 15, 4])]

    def test_enrol_refuses_a_known_finger(self, host, module):
        enrol(host, THUMB, 0)
        self.script(host, module, [THUMB] * 6)
        steps = self.steps(host, Code.AUTO_ENROLL, bytes([4, 0, 0, 0, 1]), 1)
        assert steps == [bytes([Confirm.EXISTS, 0x0D, 4])]

    def test_enrol_refuses_two_fingers(self, host, module):
        self.script(host, module, [THUMB, INDEX] + [THUMB] * 4)
        steps = self.steps(host, Code.AUTO_ENROLL, bytes([4, 0, 0, 0, 1]), 1)
        assert steps == [bytes([Confirm.MERGE, 0x0E, 4])]

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [([200, 0, 0, 1, 1], Confirm.BAD_PAGE), ([0, 0, 0, 1, 1], Confirm.BAD_PAGE)],
    )
    def test_enrol_refuses_a_page(self, host, arguments, expected):
        enrol(host, THUMB, 0)
        assert host.ask(Code.AUTO_ENROLL, bytes(arguments)).confirm == expected

    def test_time_out_after_ten_seconds(self, host):
        answer = host.ask(Code.AUTO_ENROLL, bytes([1, 0, 0, 1, 1]))
        assert answer.confirm == Confirm.TIME_OUT
        assert 10_000_000 <= answer.us <= 10_300_000

    def test_cancel(self, host):
        host.send(Code.AUTO_ENROLL, bytes([1, 0, 0, 1, 1]))
        host.wait(1_000_000)
        assert host.ask(Code.CANCEL).confirm == Confirm.OK
        host.wait(20_000_000)
        assert len(host.packets) == 1

    def test_identify(self, host, module):
        assert (
            host.ask(Code.AUTO_IDENTIFY, bytes([3, 0, 200, 0, 1])).confirm == Confirm.LIBRARY_EMPTY
        )
        enrol(host, THUMB, 6)
        self.script(host, module, [THUMB])
        steps = self.steps(host, Code.AUTO_IDENTIFY, bytes([3, 0, 200, 1, 1]), 3)
        assert [step[:2] for step in steps] == [b"\0\1", b"\0\2", b"\0\3"]
        assert steps[-1][2:4] == b"\0\6"
        assert int.from_bytes(steps[-1][4:6], "big") >= 40
        self.script(host, module, [INDEX])
        wide = bytes([3, 0, 0, 0, 200, 0, 1])
        assert self.steps(host, Code.AUTO_IDENTIFY, wide, 1) == [b"\x09\x03\0\0\0\0"]

    def test_identify_gives_a_second_chance(self, host, module):
        enrol(host, THUMB, 6)
        self.script(host, module, [INDEX, THUMB])
        steps = self.steps(host, Code.AUTO_IDENTIFY, bytes([3, 0, 200, 0, 2]), 1)
        assert steps[0][:4] == b"\0\3\0\6"
