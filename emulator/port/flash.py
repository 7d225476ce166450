"""The chip's flash: reads come from memory shared with the host where there is any, programs and
erases go to the host, which alone knows the rules and the faults."""

import link

memory = None  # set by boot.py: a memoryview of the shared memory, or None
address = 0  # and where it lies
us_per_256 = 0  # set by boot.py: CPU time to read, and import, 256 bytes of the file system

# Set by boot.py: the host wants to know of the first look at these addresses, where what the
# firmware does begins to depend on what is there.
watch_from = 0
watch_to = 0


def looked_at(address):
    global watch_to
    if watch_from <= address < watch_to:
        watch_to = 0
        link.ask(link.OP_LOOK)


def read_blocks(address, buf):
    """For the file system: also charges the CPU time."""
    looked_at(address)
    n = len(buf)
    link.charge(us_per_256 * n >> 8)
    if memory is not None:
        buf[:] = memory[address : address + n]
    else:
        read_into(address, buf)


def read_into(address, buf):
    looked_at(address)
    if memory is not None:
        buf[:] = memory[address : address + len(buf)]
        return
    view = memoryview(buf)
    for at in range(0, len(buf), 4096):
        part = view[at : at + 4096]
        link.ask(link.OP_FLASH_READ, 0, address + at, len(part).to_bytes(2, "little"))
        link.answer_into(part)


def program(address, data):
    if link.call(link.OP_FLASH_PROGRAM, 0, address, data):
        raise OSError(5)


def erase(address, size):
    if link.call(link.OP_FLASH_ERASE, 0, address, size.to_bytes(4, "little")):
        raise OSError(5)
