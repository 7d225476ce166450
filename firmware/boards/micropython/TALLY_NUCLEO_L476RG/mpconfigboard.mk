include boards/NUCLEO_L476RG/mpconfigboard.mk
MICROPY_SSL_MBEDTLS = 1
FROZEN_MANIFEST = $(BOARD_DIR)/manifest.py
