// NUCLEO-L476RG as a card. Everything else is as on the board of MicroPython's own.
#include "boards/NUCLEO_L476RG/mpconfigboard.h"

#undef MICROPY_HW_BOARD_NAME
#define MICROPY_HW_BOARD_NAME "TALLY_NUCLEO_L476RG"

// HOTP is HMAC-SHA-1 and the secure channel is AES: without TLS the port leaves both out.
#define MICROPY_PY_HASHLIB_SHA1 (1)
#define MICROPY_PY_CRYPTOLIB (1)

// Nothing is formatted: MicroPython mounts nothing, the frozen _boot.py does.
#define MICROPY_HW_FLASH_MOUNT_AT_BOOT (0)
#define MICROPY_BOARD_FROZEN_BOOT_FILE "_boot.py"

// The boot stage and the slots are ROMFS images: bytecode is executed where it lies. They are ours to
// find, not the port's partitions.
#define MICROPY_VFS_ROM (1)
#define MICROPY_VFS_ROM_IOCTL (0)

// No prompt on any line: UART1 is the card's own.
#undef MICROPY_HW_UART_REPL
