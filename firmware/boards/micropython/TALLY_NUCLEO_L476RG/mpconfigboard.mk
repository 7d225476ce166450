MCU_SERIES = l4
CMSIS_MCU = STM32L476xx
AF_FILE = boards/stm32l476_af.csv
LD_FILES = $(BOARD_DIR)/flash.ld boards/common_basic.ld
FROZEN_MANIFEST = $(BOARD_DIR)/manifest.py

# cryptolib and SHA-1 are Mbed TLS's.
MICROPY_PY_SSL = 1
MICROPY_SSL_MBEDTLS = 1

# Names that are in flash need no search through RAM at every start.
QSTR_DEFS += $(BOARD_DIR)/names.h
