// NUCLEO-L476RG as a card: what the card uses, and nothing else of the port.
#define MICROPY_HW_BOARD_NAME "TALLY_NUCLEO_L476RG"
#define MICROPY_HW_MCU_NAME "STM32L476RG"

// The display's bus (SCK, MOSI) and the serial line. The port takes a bus's pins from here only.
#define MICROPY_HW_SPI1_SCK (pin_A5)
#define MICROPY_HW_SPI1_MOSI (pin_A7)
#define MICROPY_HW_UART1_TX (pin_A9)
#define MICROPY_HW_UART1_RX (pin_A10)

// 26 MHz: MSI at 4 MHz, times 26, by 4. That is as fast as voltage range 2 allows (RM0351, 5.1.8), where
// an instruction takes the least charge and the peak that a thin cell has to carry is a third. On the
// dock the firmware goes to 80 MHz by itself.
#define MICROPY_HW_CLK_PLLM (1)
#define MICROPY_HW_CLK_PLLN (26)
#define MICROPY_HW_CLK_PLLP (RCC_PLLP_DIV7)
#define MICROPY_HW_CLK_PLLQ (RCC_PLLQ_DIV4)
#define MICROPY_HW_CLK_PLLR (RCC_PLLR_DIV4)
#define MICROPY_HW_FLASH_LATENCY (FLASH_LATENCY_3)
// The port starts a second PLL for USB, at a frequency that range 2 forbids, and again after every
// Stop: nothing here needs it, the random number generator runs from MSI.
#define MICROPY_BOARD_EARLY_INIT() \
    do { \
        __HAL_RCC_RNG_CONFIG(RCC_RNGCLKSOURCE_MSI); \
        __HAL_RCC_PLLSAI1_DISABLE(); \
        HAL_PWREx_ControlVoltageScaling(PWR_REGULATOR_VOLTAGE_SCALE2); \
    } while (0)
#define MICROPY_BOARD_LEAVE_STOP __HAL_RCC_PLLSAI1_DISABLE();

#define MICROPY_HW_ENABLE_RNG (1)
#define MICROPY_HW_ENABLE_RTC (1)
// The chip's own 32 kHz (LSI) times a light sleep, in steps of 4 ms: a crystal would take seconds to
// start after every sleep, or run all the time.
#define MICROPY_HW_RTC_USE_LSE (0)
#define RTC_SYNCH_PREDIV (249)

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
// machine.deepsleep is Shutdown (RM0351, 5.3.10). Where an interrupt that waits keeps the chip from
// it, the port goes on to Standby, which ends in the same way.
#define MICROPY_BOARD_ENTER_STANDBY HAL_PWREx_EnterSHUTDOWNMode();
