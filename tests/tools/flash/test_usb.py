"""The update of a reader over its USB, on the real firmware: what is taken, what is refused, what
stays; and what somebody gains who has a hand on the bus and none on the reader."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from fido2.ctap import CtapError
from fido2.ctap2.pin import ClientPin

from tallystick.common.errors import RefusedError
from tallystick.emulator.devices.image import Image
from tallystick.tools.flash import usb
from tallystick.tools.flash.field import SlotState
from tallystick.tools.flash.usb import (
    COMMAND,
    ReaderRefusedError,
    UpdateStep,
    install,
    reader_state,
)
from tallystick.tools.image.header import SIZE
from tallystick.tools.image.keys import SigningKey
from tests.emulator.reader.rig import PIN, Rig
from tests.tools.flash.readers import (
    Bench,
    Images,
    ask,
    begin_trial,
    changed,
    load_all,
    of_program,
    signed,
)

OK = b"\x00"
NOT_ALLOWED, PIN_NEEDED, PIN_AUTH_INVALID = b"\x30", b"\x36", b"\x33"
INVALID_LENGTH, INVALID_PARAMETER, INTEGRITY = b"\x03", b"\x02", b"\x3d"
PURPLE = 3  # of the ring
OTHER_KEY = SigningKey.of(bytes(range(32)))
PERMISSION = ClientPin.PERMISSION


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return Images(tmp_path_factory.mktemp("readers"))


@pytest.fixture(scope="module")
def life(images):
    """A reader of 0.1.0 with a PIN, a thumb and a credential; what its sensor holds; these."""
    rig = Rig(Image.load(images.outputs("0.1.0")["bin"]))
    ClientPin(rig.ctap()).set_pin(PIN)
    rig.enrol("thumb")
    made = rig.register()
    rig.reader.power_off()
    yield rig.image_of_flash(), rig.sensor, [made.credential_data]
    rig.close()


@pytest.fixture
def bench(images, life):
    """It, just plugged in."""
    rig = Rig(Image.load(images.outputs("0.1.0")["bin"]), life[0], life[1])
    yield Bench(rig)
    rig.close()


@pytest.fixture
def young(images):
    """A reader from the factory: no PIN."""
    rig = Rig(Image.load(images.outputs("0.1.0")["bin"]))
    yield Bench(rig)
    rig.close()


@pytest.fixture
def unchecked(monkeypatch):
    """A host that checks nothing: what is refused then, the reader refuses."""
    monkeypatch.setattr(usb, "_check", lambda now, header: None)


def state(bench):
    return reader_state(bench.rig.device()).running


def late(bench):
    bench.rig.reader.run_for(10_500)


# -- what it does --------------------------------------------------------------------------------


def test_an_update_runs_and_stays(bench, images, life):
    done = []
    update = images.update(security=3)
    before, now = install(bench, update, bench.person, progress=lambda at, total: done.append(at))
    assert before.header.version == "0.1.0"
    assert (now.slot, now.state, now.floor) == (1, SlotState.CONFIRMED, 3)
    assert done == sorted(done) and done[-1] == len(update.file_system)
    assert bench.asked == ["touch", "touch"]
    for _ in range(2):
        bench.rig.replug()
        assert state(bench).header == update.header
    assert bench.rig.device().device_version == (0, 2, 0)
    assert bench.rig.ctap().info.firmware_version == 0x000200


def test_credentials_fingers_pin_and_counter_are_kept(bench, images, life):
    credentials = life[2]
    bench.rig.log_in(credentials)
    client = ClientPin(bench.rig.ctap())
    with pytest.raises(CtapError):
        client.get_pin_token("0000")
    bench.rig.replug()
    install(bench, images.update(), bench.person)
    assert ClientPin(bench.rig.ctap()).get_pin_retries()[0] == 7
    bench.rig.replug()
    bench.rig.log_in(credentials)
    assert bench.rig.token(PERMISSION.CREDENTIAL_MGMT)[1]
    assert len(bench.rig.sensor.templates) == 1


def test_the_second_update_goes_into_the_first_slot(bench, images):
    install(bench, images.update(), bench.person)
    bench.rig.replug()
    _, now = install(bench, images.update("0.3.0"), bench.person)
    assert (now.slot, now.header.version) == (0, "0.3.0")


def test_later_it_asks_for_the_pin(bench, images):
    late(bench)
    _, now = install(bench, images.update(), bench.person)
    assert now.header.version == "0.2.0"
    assert bench.asked == ["pin", "touch", "touch"]


def test_the_lights_say_what_is_asked(bench, images):
    """Both flash, the ring in purple, as for nothing else."""
    rings, led = [], []
    execute = bench.rig.sensor._execute

    def note(code, arguments):
        if code == 0x35:
            rings.append(tuple(arguments))
        return execute(code, arguments)

    bench.rig.sensor._execute = note

    def watch(status):
        if status == 2:
            for _ in range(20):
                bench.rig.reader.run_for(50)
                led.append(bench.rig.reader.led)
            bench.rig.sensor.press("thumb")

    update = images.update()
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, watch) == OK
    changes = sum(a != b for a, b in pairwise(led))
    assert changes >= 5
    assert (2, 30, PURPLE, 0) in rings  # flashing, purple, for ever
    assert rings[-1][0] == 3 and rings[-1][2] == PURPLE  # stays on while the image comes
    rings.clear()
    bench.rig.ctap().selection(on_keepalive=bench.pressing)
    assert not [ring for ring in rings if ring[2] == PURPLE]


# -- without the person --------------------------------------------------------------------------


def refused_untouched(bench, data, status, step=UpdateStep.BEGIN):
    """It says no, writes nothing, and does not even ask for a touch."""
    with bench.find() as device:  # the first command makes solid what was read at the start
        ask(device, UpdateStep.CONFIRM, b"\0")
    before, bench.asked = bench.rig.reader.flash.operations, []
    with bench.find() as device:
        assert ask(device, step, data, bench.pressing) == status
    assert bench.rig.reader.flash.operations == before
    assert bench.asked == []


def test_nobody_touches(bench, images):
    bench.touches = False
    ClientPin(bench.rig.ctap()).get_pin_retries()
    operations = bench.rig.reader.flash.operations
    with pytest.raises(ReaderRefusedError, match="nobody touched it"):
        install(bench, images.update(), bench.person)
    assert bench.rig.reader.flash.operations == operations
    assert not bench.rig.reader.led and state(bench).header.version == "0.1.0"


def test_a_finger_that_lies_there_already_is_no_touch(bench, images):
    bench.rig.sensor.present("thumb")
    bench.rig.reader.run_for(100)
    bench.touches = False
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, images.update().signed, bench.pressing) == b"\x2f"


def test_a_touch_is_for_one_request(bench, images):
    """Not of the request before, and not for a second image."""
    update = images.update()
    bench.rig.ctap().selection(on_keepalive=bench.pressing)
    bench.touches = False
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == b"\x2f"
        bench.touches = True
        bench.rig.replug()
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        bench.touches = False
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == b"\x2f"


def test_a_touch_that_a_token_was_taken_with_is_none(bench, images):
    late(bench)
    client, token = bench.rig.token(PERMISSION.AUTHENTICATOR_CFG)
    bench.touches = False
    update = images.update()
    message = b"\xff" * 32 + bytes((COMMAND, UpdateStep.BEGIN)) + update.signed
    proof = bytes((client.protocol.VERSION,)) + client.protocol.authenticate(token, message)
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed + proof, bench.pressing) == b"\x2f"


def test_without_a_pin_only_in_the_first_ten_seconds(young, images):
    late(young)
    refused_untouched(young, images.update().signed, NOT_ALLOWED)
    with pytest.raises(ReaderRefusedError, match="within ten seconds"):
        install(young, images.update(), young.person)
    young.rig.replug()
    assert install(young, images.update(), young.person)[1].slot == 1


def test_a_restart_opens_no_window(young, images):
    """The trial's own restart is one."""
    install(young, images.update(), young.person)
    refused_untouched(young, images.update("0.3.0").signed, NOT_ALLOWED)


def test_a_wrong_pin(bench, images):
    late(bench)
    wrong = Bench(bench.rig, pin="9999")
    with pytest.raises(RefusedError, match="did not take the PIN"):
        install(wrong, images.update(), wrong.person)
    assert wrong.asked == ["pin"]
    assert ClientPin(bench.rig.ctap()).get_pin_retries()[0] == 7


def proof(client, token, message, version=None):
    protocol = client.protocol
    return bytes((version or protocol.VERSION,)) + protocol.authenticate(token, message)


def test_a_token_must_be_the_right_one_and_for_this_image(bench, images):
    late(bench)
    update, other = images.update().signed, images.update("0.3.0").signed
    domain = b"\xff" * 32 + bytes((COMMAND, UpdateStep.BEGIN))
    refused_untouched(bench, update, PIN_NEEDED)
    for permission in (PERMISSION.CREDENTIAL_MGMT, PERMISSION.BIO_ENROLL):
        client, token = bench.rig.token(permission)
        good = proof(client, token, domain + update)
        refused_untouched(bench, update + good, PIN_AUTH_INVALID)
    client, token = bench.rig.token(PERMISSION.AUTHENTICATOR_CFG)
    good = proof(client, token, domain + update)
    config = b"\xff" * 32 + b"\x0d\x02" + update
    for wrong in (
        proof(client, token, domain + other),
        proof(client, token, update),
        proof(client, token, config),
        proof(client, bytes(32), domain + update),
        good[:-1],
        good + b"\0",
        good[:1],
        bytes((1,)) + good[1:],
    ):
        refused_untouched(bench, update + wrong, PIN_AUTH_INVALID)
    refused_untouched(bench, update + bytes((3,)) + good[1:], INVALID_PARAMETER)
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update + good, bench.pressing) == OK


def test_a_finger_gives_no_leave(bench, images):
    """What the PIN guards, a PIN changes."""
    client = ClientPin(bench.rig.ctap())
    with pytest.raises(CtapError) as refused:
        client.get_uv_token(PERMISSION.AUTHENTICATOR_CFG, on_keepalive=bench.rig.pressing("thumb"))
    assert refused.value.code == CtapError.ERR.UNAUTHORIZED_PERMISSION


def test_a_wrong_proof_counts_in_the_first_seconds_too(bench, images):
    refused_untouched(bench, images.update().signed + b"\x02" + bytes(32), PIN_AUTH_INVALID)


# -- the wrong image -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"board": "pico2_card"}, {"device": "card"}, {"size": 0}, {"size": 0x7FFFFFFF}, {"size": 100}],
)
def test_the_reader_itself_refuses_what_is_not_for_it(bench, images, change):
    refused_untouched(bench, changed(images.update(), **change).signed, INVALID_PARAMETER)


@pytest.mark.parametrize("change", [{"board": "pico2_card"}, {"device": "card"}])
def test_the_host_says_so_before(bench, images, change):
    with pytest.raises(RefusedError, match="this is a reader on pico2"):
        install(bench, changed(images.update(), **change), bench.person)
    assert bench.asked == []


def test_another_firms_signature_is_refused_before_anybody_is_asked(bench, images):
    update = images.update()
    refused_untouched(bench, signed(update.header, b"", OTHER_KEY).signed, INTEGRITY)
    damaged = bytearray(update.signed)
    damaged[SIZE + 5] ^= 1
    refused_untouched(bench, bytes(damaged), INTEGRITY)
    with pytest.raises(RefusedError, match="another signing key"):
        install(bench, signed(update.header, update.file_system, OTHER_KEY), bench.person)


def test_a_changed_image_does_not_start(bench, images):
    update = images.update()
    content = bytearray(update.file_system)
    content[1000] ^= 0x10
    with pytest.raises(ReaderRefusedError, match="not what was signed"):
        install(bench, replace(update, file_system=bytes(content)), bench.person)
    # No header speaks of what is not whole: `tally flash` would take it for what the board had.
    slot = bench.rig.reader.board.slots[1]
    assert bench.rig.image_of_flash()[slot.address :][:SIZE] == b"\xff" * SIZE
    bench.rig.replug()
    assert state(bench).slot == 0


def test_no_way_back_below_the_floor(bench, images, unchecked):
    install(bench, images.update(security=3), bench.person)
    bench.rig.replug()
    refused_untouched(bench, images.update("0.3.0", security=2).signed, NOT_ALLOWED)
    _, now = install(bench, images.update("0.3.0", security=3), bench.person)
    assert now.slot == 0


def test_the_floor_stays_through_the_trials_that_follow(bench, images):
    """It is the record's, not only that of the image which happens to run."""
    install(bench, images.update(security=3), bench.person)
    bench.rig.replug()
    begin_trial(bench, images.update("0.3.0", security=5))
    assert (state(bench).state, state(bench).floor) == (SlotState.TRIED, 3)
    bench.rig.replug()
    assert (state(bench).header.version, state(bench).floor) == ("0.2.0", 3)


def test_the_boot_record_is_solid_before_anything_is_erased_and_written_twice_each_time(
    bench, images
):
    """A first one that was cut may read as whole today and not tomorrow (lib/slots.py): no sample
    of power cuts is sure to meet that."""
    reader, done = bench.rig.reader, []
    record = reader.board.record
    reader.flash.fault_plan = done.append
    begin_trial(bench, images.update(security=3))
    with bench.find() as device:
        assert ask(device, UpdateStep.CONFIRM, b"", bench.pressing) == OK
    reader.flash.fault_plan = None
    slot = reader.board.slots[1]
    erased = next(n for n, one in enumerate(done) if slot.address <= one.address < slot.end)
    written = [
        (number, bytes(one.new[12:20]))
        for number, one in enumerate(done)
        if record.address <= one.address < record.end and one.kind == "program"
    ]
    said = [(content[1], content[2], content[4]) for _, content in written]
    expected = [(1, 0, 0), (2, 1, 0), (3, 1, 0), (1, 1, 3)]  # state, slot, floor
    assert said == [one for one in expected for _ in range(2)]
    assert written[1][0] < erased < written[2][0]


def test_the_host_knows_the_floor(bench, images):
    install(bench, images.update(security=3), bench.person)
    bench.rig.replug()
    bench.asked.clear()
    with pytest.raises(RefusedError, match="takes none below 3"):
        install(bench, images.update("0.3.0", security=2), bench.person)
    assert bench.asked == []


def test_a_state_that_it_cannot_read(bench, images, unchecked):
    later = changed(images.update(), formats=type(images.update().header.formats)(2, 3))
    refused_untouched(bench, later.signed, NOT_ALLOWED)


def test_a_state_that_it_cannot_read_is_told_by_the_host(bench, images):
    later = changed(images.update(), formats=type(images.update().header.formats)(2, 3))
    with pytest.raises(RefusedError, match="state has format 1; the update reads 2 to 3"):
        install(bench, later, bench.person)
    assert bench.asked == []


# -- the trial -----------------------------------------------------------------------------------


CRASHES = "raise RuntimeError('no')\n"
HANGS = "import time\nwhile True:\n    time.sleep_ms(1000)\n"


@pytest.mark.parametrize("program", [CRASHES, HANGS])
def test_an_image_that_does_not_run_is_left_again(bench, life, program):
    update = of_program(program, security=9)
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        load_all(device, update)
        assert ask(device, UpdateStep.SWITCH) == OK
    try:
        bench.rig.reader.run_for(1_000)
    except Exception as error:  # the emulator tells what the firmware printed
        assert "no" in str(error)
    bench.rig.replug()
    now = state(bench)
    assert (now.slot, now.state, now.floor) == (0, SlotState.CONFIRMED, 0)
    bench.rig.log_in(life[2])


def test_a_trial_that_nobody_confirms_is_over_at_the_next_start(bench, images):
    begin_trial(bench, images.update(security=5))
    now = state(bench)
    assert (now.slot, now.state, now.floor) == (1, SlotState.TRIED, 0)
    bench.rig.replug()
    now = state(bench)
    assert (now.slot, now.state, now.floor) == (0, SlotState.CONFIRMED, 0)


def test_it_is_kept_by_a_touch_alone(bench, images):
    begin_trial(bench, images.update())
    bench.touches = False
    with bench.find() as device:
        assert ask(device, UpdateStep.CONFIRM, b"", bench.pressing) == b"\x2f"
    assert state(bench).state is SlotState.TRIED
    bench.rig.replug()
    assert state(bench).slot == 0


def test_a_host_that_was_killed_after_the_switch_only_confirms(bench, images):
    update = images.update()
    begin_trial(bench, update)
    bench.asked.clear()
    _, now = install(bench, update, bench.person)
    assert (now.slot, now.state) == (1, SlotState.CONFIRMED)
    assert bench.asked == ["touch"]


def test_a_reader_on_trial_takes_no_other_update(bench, images):
    begin_trial(bench, images.update())
    late(bench)
    client, token = bench.rig.token(PERMISSION.AUTHENTICATOR_CFG)
    other = images.update("0.3.0").signed
    good = proof(client, token, b"\xff" * 32 + bytes((COMMAND, UpdateStep.BEGIN)) + other)
    refused_untouched(bench, other + good, NOT_ALLOWED)
    with pytest.raises(RefusedError, match="another new image on trial"):
        install(bench, images.update("0.3.0"), bench.person)


def test_confirming_what_is_confirmed_asks_nobody(bench):
    refused_untouched(bench, b"", OK, UpdateStep.CONFIRM)


# -- the bus: other programs, wrong order, half an image ------------------------------------------


def test_commands_out_of_order(bench, images):
    part = bytes(4) + bytes(256)
    refused_untouched(bench, part, NOT_ALLOWED, UpdateStep.LOAD)
    refused_untouched(bench, b"", NOT_ALLOWED, UpdateStep.SWITCH)
    for step in (0, 6, 0x55, 0xFF):
        refused_untouched(bench, b"", b"\x3e", step)


def test_another_channel_has_no_part_in_it(bench, images):
    update = images.update()
    with bench.find() as device, bench.find() as stranger:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        operations = bench.rig.reader.flash.operations
        evil = bytes(4) + bytes(256)
        assert ask(stranger, UpdateStep.LOAD, evil) == NOT_ALLOWED
        assert ask(stranger, UpdateStep.SWITCH) == NOT_ALLOWED
        wrong = signed(update.header, b"", OTHER_KEY).signed
        assert ask(stranger, UpdateStep.BEGIN, wrong, bench.pressing) == INTEGRITY
        assert bench.rig.reader.flash.operations == operations
        load_all(device, update)
        assert ask(stranger, UpdateStep.SWITCH) == NOT_ALLOWED
        assert ask(device, UpdateStep.SWITCH) == OK


def test_other_commands_may_come_between(bench, images, life):
    update = images.update()
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        half = len(update.file_system) // 2
        half -= half % 2048
        load_all(device, replace(update, file_system=update.file_system[:half]))
        assert bench.rig.ctap().info.options["clientPin"]
        bench.rig.log_in(life[2])
        load_all(device, replace(update, file_system=b"\xff" * half + update.file_system[half:]))
        assert ask(device, UpdateStep.SWITCH) == OK
    bench.rig.reader.run_for(1_000)
    assert state(bench).header == update.header


def test_a_host_that_goes_silent_has_to_begin_anew(bench, images):
    update = images.update()
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        load_all(device, update)
        bench.rig.reader.run_for(31_000)
        assert ask(device, UpdateStep.SWITCH) == NOT_ALLOWED
        assert ask(device, UpdateStep.LOAD, bytes(4) + bytes(256)) == NOT_ALLOWED
    bench.rig.replug()
    assert install(bench, update, bench.person)[1].slot == 1


def test_pulled_out_in_the_middle(bench, images, life):
    update = images.update()

    def pull(at, total):
        if at > total // 2:
            bench.rig.reader.power_off()

    with pytest.raises(Exception, match=r"went away|nothing came"):
        install(bench, update, bench.person, progress=pull)
    bench.rig.reader.power_on()
    assert state(bench).header.version == "0.1.0"
    bench.rig.log_in(life[2])
    bench.rig.replug()
    assert install(bench, update, bench.person)[1].slot == 1


def test_parts_out_of_place(bench, images):
    update = images.update()
    size = len(update.file_system)
    with bench.find() as device:
        for short in (b"", update.signed[:-1], b"\0"):
            assert ask(device, UpdateStep.BEGIN, short, bench.pressing) == INVALID_LENGTH
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK

        def load(offset, data):
            return ask(device, UpdateStep.LOAD, offset.to_bytes(4, "big") + data)

        assert load(0, b"") == load(0, bytes(2049)) == INVALID_LENGTH
        assert ask(device, UpdateStep.LOAD, b"\0\0") == INVALID_LENGTH
        assert load(1, bytes(256)) == load(0, bytes(255)) == INVALID_PARAMETER
        for offset in (size, size - 256 + 1, 0xFFFFFF00):
            assert load(offset, bytes(256)) == INVALID_PARAMETER
        assert load(4096, bytes(256)) == OK
        assert load(0, bytes(256)) == INVALID_PARAMETER  # not backwards
        assert ask(device, UpdateStep.SWITCH, b"\0") == INVALID_LENGTH
        assert ask(device, UpdateStep.SWITCH) == INTEGRITY
        assert ask(device, UpdateStep.SWITCH) == NOT_ALLOWED
    assert state(bench).slot == 0


def test_other_vendor_commands_are_none(bench):
    with bench.find() as device:
        for command in (0x40, 0x54, 0x56, 0x7F):
            with pytest.raises(CtapError) as refused:
                device.call(command, b"\x05")
            assert refused.value.code == CtapError.ERR.INVALID_COMMAND
        with pytest.raises(CtapError) as refused:
            device.call(COMMAND, b"")
        assert refused.value.code == CtapError.ERR.INVALID_LENGTH


def test_a_reset_between_changes_nothing_of_it(bench, images):
    update = images.update()
    with bench.find() as device:
        assert ask(device, UpdateStep.BEGIN, update.signed, bench.pressing) == OK
        bench.rig.ctap().reset(on_keepalive=bench.pressing)
        load_all(device, update)
        assert ask(device, UpdateStep.SWITCH) == OK
    bench.rig.reader.run_for(1_000)
    with bench.find() as device:
        assert ask(device, UpdateStep.CONFIRM, b"", bench.pressing) == OK
    assert state(bench).header == update.header
    assert not bench.rig.ctap().info.options["clientPin"]


def test_a_damaged_reader_takes_none(young, images):
    """Only a reset helps it; the host says what it is."""
    young.rig.reader.power_off()
    journal = young.rig.reader.board.journal
    young.rig.reader.flash.load(journal.address, b"\x11" * journal.size)
    young.rig.reader.power_on()
    refused_untouched(young, images.update().signed, b"\x7f")
    with pytest.raises(RefusedError, match="cannot read its own state: it is damaged") as refused:
        install(young, images.update(), young.person)
    assert "Reset it" in refused.value.todo and young.asked == []
