// NUCLEO-L476RG as a card: what the card uses, and nothing else of the port.
#define MICROPY_HW_BOARD_NAME "TALLY_NUCLEO_L476RG"
#define MICROPY_HW_MCU_NAME "STM32L476RG"

// The display's bus (SCK, MOSI) and the serial line. The port takes a bus's pins from here only.
#define MICROPY_HW_SPI1_SCK (pin_A5)
#define MICROPY_HW_SPI1_MOSI (pin_A7)
#define MICROPY_HW_UART1_TX (pin_A9)
#define MICROPY_HW_UART1_RX (pin_A10)

// 80 MHz: MSI at 4 MHz, times 40, by 2.
#define MICROPY_HW_CLK_PLLM (1)
#define MICROPY_HW_CLK_PLLN (40)
#define MICROPY_HW_CLK_PLLP (RCC_PLLP_DIV7)
#define MICROPY_HW_CLK_PLLQ (RCC_PLLQ_DIV2)
#define MICROPY_HW_CLK_PLLR (RCC_PLLR_DIV2)
#define MICROPY_HW_FLASH_LATENCY (FLASH_LATENCY_4)

#define MICROPY_HW_ENABLE_RNG (1)
#define MICROPY_HW_ENABLE_RTC (1)
// The chip's own 32 kHz times a light sleep. A crystal would have to run all the time.
#define MICROPY_HW_RTC_USE_LSE (0)

// No prompt and no drive, on any line: UART1 is the card's own, and a switch held at the reset would
// start the port's safe mode.
#define MICROPY_HW_ENABLE_USB (0)
#define MICROPY_HW_HAS_SWITCH (0)

// HOTP is HMAC-SHA-1 and the secure channel is AES: without TLS the port leaves both out.
#define MICROPY_PY_HASHLIB_SHA1 (1)
#define MICROPY_PY_CRYPTOLIB (1)

// Nothing is formatted, and no storage area is there to write to: the frozen _boot.py mounts.
#define MICROPY_HW_ENABLE_INTERNAL_FLASH_STORAGE (0)
#define MICROPY_HW_FLASH_MOUNT_AT_BOOT (0)
#define MICROPY_BOARD_FROZEN_BOOT_FILE "_boot.py"

// The boot stage and the slots are ROMFS images: bytecode is executed where it lies. They are ours to
// find, not the port's partitions.
#define MICROPY_VFS_ROM (1)
#define MICROPY_VFS_ROM_IOCTL (0)

// machine.lightsleep is Stop 2, not the port's Stop 1 (RM0351, 5.3.8): every pin still wakes.
#define HAL_PWR_EnterSTOPMode(regulator, entry) HAL_PWREx_EnterSTOP2Mode(entry)
