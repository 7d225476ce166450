// Frequencies (Hz) and start-up times (ms) that ST's library asks a board for. Neither crystal is used.
#ifndef TALLY_STM32L4XX_HAL_CONF_H
#define TALLY_STM32L4XX_HAL_CONF_H

#define HSE_VALUE (8000000)
#define HSE_STARTUP_TIMEOUT (100)
#define LSE_VALUE (32768)
#define LSE_STARTUP_TIMEOUT (5000)
#define EXTERNAL_SAI1_CLOCK_VALUE (48000)
#define EXTERNAL_SAI2_CLOCK_VALUE (48000)

#include "boards/stm32l4xx_hal_conf_base.h"

#endif
