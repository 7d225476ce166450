"""Two host drivers that are not ours, unmodified, over a pseudo-terminal."""

from __future__ import annotations

import adafruit_fingerprint as ada
import pytest
import serial
from pyfingerprint.pyfingerprint import PyFingerprint

from tallystick.emulator.fingerprints.fingers import finger
from tallystick.emulator.fingerprints.impression import Press
from tests.emulator.fingerprints.standalone import StandaloneSensor

THUMB, INDEX = finger("right-thumb"), finger("right-index")


@pytest.fixture
def sensor():
    with StandaloneSensor(seed=3) as standalone:
        yield standalone


class TestAdafruit:
    @pytest.fixture
    def host(self, sensor):
        with serial.Serial(sensor.port, 57600, timeout=5) as line:
            yield ada.Adafruit_Fingerprint(line)

    def enrol(self, host, sensor, master, location, samples=6):
        for slot in range(1, samples + 1):
            sensor.press(master)
            assert host.get_image() == ada.OK
            assert host.image_2_tz(slot) == ada.OK
            sensor.lift()
            assert host.get_image() == ada.NOFINGER
        assert host.create_model() == ada.OK
        assert host.store_model(location) == ada.OK

    def search(self, host, sensor, master):
        sensor.press(master)
        assert host.get_image() == ada.OK
        assert host.image_2_tz(1) == ada.OK
        sensor.lift()
        return host.finger_search()

    def test_parameters(self, host):
        assert (host.library_size, host.security_level, host.baudrate) == (200, 3, 6)
        assert host.device_address == b"\xff\xff\xff\xff"
        assert host.set_sysparam(5, 4) == ada.OK
        assert host.read_sysparam() == ada.OK
        assert host.security_level == 4

    def test_enrols_finds_and_deletes(self, host, sensor):
        self.enrol(host, sensor, THUMB, 7)
        assert host.count_templates() == ada.OK
        assert host.template_count == 1
        assert host.read_templates() == ada.OK
        assert host.templates == [7]
        assert self.search(host, sensor, THUMB) == ada.OK
        assert host.finger_id == 7
        assert host.confidence > 40
        assert host.finger_fast_search() == ada.OK
        assert self.search(host, sensor, INDEX) == ada.NOTFOUND
        assert host.load_model(7, 2) == ada.OK
        assert host.delete_model(7) == ada.OK
        assert host.count_templates() == ada.OK
        assert host.template_count == 0
        assert self.search(host, sensor, THUMB) == ada.NOTFOUND

    def test_two_fingers_do_not_merge(self, host, sensor):
        for slot, master in ((1, THUMB), (2, INDEX)):
            sensor.press(master)
            assert host.get_image() == ada.OK
            assert host.image_2_tz(slot) == ada.OK
            sensor.lift()
        assert host.create_model() == ada.ENROLLMISMATCH

    def test_light_echo_empty_reset(self, host, sensor):
        assert host.check_module()
        assert host.set_led(color=2, mode=3) == ada.OK
        assert sensor.module.light == (3, 0x80, 2, 0)
        self.enrol(host, sensor, INDEX, 0, samples=2)
        assert host.empty_library() == ada.OK
        assert host.count_templates() == ada.OK
        assert host.template_count == 0
        host.soft_reset()
        assert sensor.module.light is None

    def test_no_template_leaves_the_module(self, host, sensor):
        self.enrol(host, sensor, THUMB, 1, samples=2)
        with pytest.raises(UnboundLocalError):  # the driver has no branch for a refusal
            host.get_fpdata("char", 1)
        with pytest.raises(UnboundLocalError):
            host.get_fpdata("image")


class TestPyFingerprint:
    @pytest.fixture
    def host(self, sensor):
        host = PyFingerprint(sensor.port, 57600, 0xFFFFFFFF, 0)
        assert host.verifyPassword()
        yield host
        host.__del__()  # the driver has no other way to close its port

    def read(self, host, sensor, master, buffer):
        sensor.press(master, Press())
        assert host.readImage()
        assert host.convertImage(buffer)
        sensor.lift()

    def test_enrols_finds_and_clears(self, host, sensor):
        assert host.getStorageCapacity() == 200
        assert not host.readImage()  # no finger
        self.read(host, sensor, THUMB, 1)
        assert host.searchTemplate() == (-1, -1)
        self.read(host, sensor, THUMB, 2)
        assert host.compareCharacteristics() > 40
        assert host.createTemplate()
        assert host.storeTemplate() == 0
        assert host.getTemplateCount() == 1
        assert host.getTemplateIndex(0)[:2] == [True, False]
        self.read(host, sensor, THUMB, 1)
        page, score = host.searchTemplate()
        assert page == 0
        assert score > 40
        self.read(host, sensor, INDEX, 1)
        assert host.searchTemplate() == (-1, -1)
        assert host.loadTemplate(0, 2)
        assert host.deleteTemplate(0)
        assert host.clearDatabase()
        assert host.getTemplateCount() == 0

    def test_random_numbers_and_parameters(self, host):
        assert host.generateRandomNumber() != host.generateRandomNumber()
        host.setSecurityLevel(5)
        assert host.getSecurityLevel() == 5
        host.setMaxPacketSize(32)
        assert host.getMaxPacketSize() == 32

    def test_password_survives_power_off(self, host, sensor):
        assert host.setPassword(0x11223344)
        sensor.replug()
        with pytest.raises(Exception, match="0x21"):
            host.getTemplateCount()
        host._PyFingerprint__password = 0
        assert not host.verifyPassword()
        host._PyFingerprint__password = 0x11223344
        assert host.verifyPassword()
        assert host.getTemplateCount() == 0

    def test_address(self, host):
        assert host.setAddress(0x01020304)
        assert host.verifyPassword()


def test_templates_travel_in_the_test_mode():
    with StandaloneSensor(seed=3, test_mode=True) as sensor:
        host = PyFingerprint(sensor.port, 57600, 0xFFFFFFFF, 0)
        sensor.press(THUMB, Press())
        assert host.readImage()
        assert host.convertImage(1)
        taken = host.downloadCharacteristics(1)
        assert len(taken) == 512
        assert host.uploadCharacteristics(2, taken)
        assert host.compareCharacteristics() > 100
        host.__del__()


def test_images_travel_in_the_test_mode():
    with (
        StandaloneSensor(seed=3, test_mode=True) as sensor,
        serial.Serial(sensor.port, 57600, timeout=5) as line,
    ):
        host = ada.Adafruit_Fingerprint(line)
        sensor.press(THUMB, Press())
        assert host.get_image() == ada.OK
        picture = host.get_fpdata("image")
        assert len(picture) == 192 * 192 // 2  # four bits a pixel
        assert host.image_2_tz(1) == ada.OK
        sensor.lift()
        assert host.get_image() == ada.NOFINGER
        assert host.send_fpdata(picture, "image")
        assert host.image_2_tz(2) == ada.OK
        assert host.compare_templates() == ada.OK
