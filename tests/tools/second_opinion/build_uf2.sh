#!/bin/sh
# Builds MicroPython for the Raspberry Pi Pico from Debian's source packages: for a machine that
# reaches a Debian mirror and not MicroPython's own site. It is the rp2 port as its makers ship it,
# but for four modules of micropython-lib (onewire, ds18x20, dht, neopixel) that Debian leaves out.
#
#   tests/tools/second_opinion/build_uf2.sh FOLDER     puts pico.uf2 into FOLDER
#
# Needs gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib cmake ninja-build
# dpkg-dev python3. $SUITE is the Debian release whose sources are taken.
set -eu

suite=${SUITE:-trixie}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    'Label: Debian' | head -n 1)
[ -n "$mirror" ] || { echo "apt knows no Debian mirror: run apt-get update first" >&2; exit 1; }

# A list of packages of its own, and none of this machine's settings for apt: what it installs does
# not change, and what other tools have added to /etc/apt does not matter.
apt=$folder/apt
mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources"
cat > "$apt/sources/debian.sources" <<END
Types: deb deb-src
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
cat > "$apt/apt.conf" <<END
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$apt/sources";
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Acquire::Languages "none";
APT::Sandbox::User "root";
END
# The way to the mirror stays: proxies and certificates.
apt-config dump | grep '^Acquire::https\{0,1\}:' >> "$apt/apt.conf" || true
export APT_CONFIG="$apt/apt.conf"
cd "$folder"
apt-get update -q
apt-get source -q --only-source micropython mbedtls
apt-get download -q pico-sdk-source tinyusb-source
unset APT_CONFIG
for package in ./*.deb; do dpkg-deb -x "$package" "$folder/root"; done

top=$(echo "$folder"/micropython-*/)
top=${top%/}
rm -rf "$top/lib/mbedtls" "$top/lib/pico-sdk" "$top/lib/tinyusb"
mv "$folder"/mbedtls-*/ "$top/lib/mbedtls"
cp -R "$folder/root/usr/src/pico-sdk" "$top/lib/pico-sdk"
cp -RL "$folder/root/usr/src/tinyusb" "$top/lib/tinyusb"
: > "$top/lib/micropython-lib/README.md" # the build looks for it
cat > "$folder/manifest.py" <<END
freeze("\$(PORT_DIR)/modules")
include("\$(MPY_DIR)/extmod/asyncio")
END

make -C "$top/mpy-cross" -j2
cmake -S "$top/ports/rp2" -B "$folder/build" -G Ninja -DPICO_NO_PICOTOOL=1 \
    -DMICROPY_BOARD=RPI_PICO -DMICROPY_BOARD_DIR="$top/ports/rp2/boards/RPI_PICO" \
    -DMICROPY_FROZEN_MANIFEST="$folder/manifest.py"
ninja -C "$folder/build"
arm-none-eabi-objcopy -O binary "$folder/build/firmware.elf" "$folder/firmware.bin"
python3 "$top/tools/uf2conv.py" -f RP2040 -b 0x10000000 -c -o "$folder/pico.uf2" \
    "$folder/firmware.bin"
