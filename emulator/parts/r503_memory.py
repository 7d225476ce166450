"""The R503 class's working memory, lost at power-off: the image, the six buffers, and what is done
with them. Operations that take time are generators of µs; power may go at each yield."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from tallystick.emulator.fingerprints import feedback
from tallystick.emulator.fingerprints.enrolment import of_one_finger
from tallystick.emulator.fingerprints.feedback import Fault, Placement
from tallystick.emulator.fingerprints.impression import SIZE, Pixels
from tallystick.emulator.fingerprints.matcher import TEMPLATE_LIMIT, minutiae_count
from tallystick.emulator.fingerprints.quality import Quality, measure
from tallystick.emulator.parts.r503_codes import Confirm
from tallystick.emulator.parts.r503_flash import Template, is_record
from tallystick.emulator.parts.r503_state import SensorState

# The manual's limits in µs, but for those marked.
IMAGE_US = 200_000
FEATURE_US = 500_000
SEARCH_US = 10_000  # for each template looked at
MERGE_US = 100_000  # not in the manual
WRITE_US = 30_000  # not in the manual: one template or parameter into flash

BUFFERS = range(1, 7)
_FAULTS = {
    Fault.NONE: Confirm.OK,
    Fault.SHORT: Confirm.FEW_FEATURES,
    Fault.SMEARED: Confirm.MESSY,
}


class Memory:
    """`hint`: placement of the latest image when the finger lay off the middle, 0 otherwise."""

    def __init__(self, state: SensorState) -> None:
        self._state = state
        self._quality: Quality | None = None
        self._samples: dict[int, bytes] = {}  # taken since the last merge
        self.image: Pixels | None = None
        self.hint = 0
        self.buffers: dict[int, Template] = {}

    def capture(self) -> Generator[int, None, Confirm]:
        """Takes the image of a finger that lies still on the glass for the whole exposure."""
        self.image = self._quality = None
        self.hint = 0
        before, started = self._state.finger, self._state.clock.now
        yield IMAGE_US
        if before is None or started < before.landed_us:
            return Confirm.NO_FINGER
        if self._state.finger is not before:
            return Confirm.CAPTURE
        image = before.image()
        quality = measure(image)
        if not feedback.shows_finger(quality):
            return Confirm.NO_FINGER
        self.image, self._quality = image, quality
        place = feedback.placement(quality)
        self.hint = 0 if place is Placement.POOR else int(place)
        return Confirm.OK

    def is_poor(self) -> bool:
        """Whether the image is worth no more than a better one at once."""
        return self._quality is not None and feedback.placement(self._quality) is not Placement.GOOD

    def extract(self, buffer: int) -> Generator[int, None, Confirm]:
        """Features of the image into a buffer, as a sample of the finger to enrol or to find."""
        if buffer not in BUFFERS:
            return Confirm.BAD_PAGE
        if self.image is None or self._quality is None:
            return Confirm.NO_IMAGE
        image, quality = self.image, self._quality
        yield FEATURE_US
        template = self._state.matcher.extract(image)
        confirm = _FAULTS[feedback.fault(quality, minutiae_count(template))]
        if confirm is Confirm.OK:
            self.buffers[buffer] = (template,)
            self._samples[buffer] = template
        return confirm

    def merge(self) -> Generator[int, None, Confirm]:
        """The samples become one template in buffers 1 and 2, if they are of one finger."""
        samples = tuple(self._samples[buffer] for buffer in sorted(self._samples))
        self._samples.clear()
        yield MERGE_US
        if not of_one_finger(samples, self._state.matcher):
            return Confirm.MERGE
        self.buffers = {1: samples, 2: samples}
        return Confirm.OK

    def forget_samples(self) -> None:
        self._samples.clear()

    def compare(self, probe: Template, reference: Template) -> int:
        """Best score of any pair of samples."""
        score = self._state.matcher.score
        return max(score(one, other) for one in probe for other in reference)

    def find(
        self, buffer: int, start: int, count: int, threshold: int
    ) -> Generator[int, None, tuple[int, int] | None]:
        """(page, score) of the best template on `count` pages from `start`; None below
        `threshold`."""
        probe = self.buffers.get(buffer)
        pages = {
            page: template
            for page, template in self._state.flash.templates.items()
            if start <= page < start + count
        }
        yield SEARCH_US * max(1, len(pages))
        if probe is None or not pages:
            return None
        scores = {page: self.compare(probe, template) for page, template in pages.items()}
        best = max(sorted(scores), key=lambda page: scores[page])
        return (best, scores[best]) if scores[best] >= threshold else None

    # transfer, in the test mode only

    def packed_image(self) -> bytes:
        """Four bits a pixel, as the module sends it; 18,432 bytes."""
        assert self.image is not None
        nibbles = self.image.ravel() >> 4
        return bytes(nibbles[0::2] << 4 | nibbles[1::2])

    def unpack_image(self, data: bytes) -> None:
        """Too short an image is filled up with bare glass."""
        packed = np.frombuffer(data.ljust(SIZE * SIZE // 2, b"\xff")[: SIZE * SIZE // 2], np.uint8)
        pixels = np.stack([packed >> 4, packed & 15], axis=1).ravel() * np.uint8(17)
        self.image = pixels.reshape(SIZE, SIZE)
        self._quality = measure(self.image)

    def packed_template(self, buffer: int) -> bytes | None:
        """512 bytes a sample; None when the buffer is empty."""
        template = self.buffers.get(buffer)
        if template is None:
            return None
        return b"".join(record.ljust(TEMPLATE_LIMIT, b"\0") for record in template)

    def unpack_template(self, buffer: int, data: bytes) -> None:
        """Takes only what `packed_template` gives; anything else leaves the buffer empty."""
        self.buffers.pop(buffer, None)
        records = []
        for at in range(0, len(data), TEMPLATE_LIMIT):
            block = data[at : at + TEMPLATE_LIMIT]
            record = block[: int.from_bytes(block[8:12], "big")]
            if not is_record(record):
                return
            records.append(record)
        if records:
            self.buffers[buffer] = tuple(records)
