SUMMARY = "U-Boot's script, and the boot variables as the factory writes them"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

# The script as it lies in docs/integration/uboot.
FILESEXTRAPATHS:prepend := "${THISDIR}/../../../../uboot:"
SRC_URI = "file://boot.cmd"
S = "${WORKDIR}"
DEPENDS = "u-boot-tools-native"

inherit deploy nopackages

do_configure[noexec] = "1"
do_install[noexec] = "1"

# Two copies, where fw_env.0.config and fw_env.1.config of the agent say.
do_compile() {
    mkimage -T script -C none -d boot.cmd boot.scr
    printf '%s\n' fleetcd_primary=a fleetcd_trial=none fleetcd_left=0 fleetcd_seq=1 > factory.txt
    mkenvimage -s 0x4000 -o copy.bin factory.txt
    truncate -s 1M variables.bin
    dd if=copy.bin of=variables.bin conv=notrunc
    dd if=copy.bin of=variables.bin bs=1024 seek=512 conv=notrunc
}

do_deploy() {
    install -m 0644 boot.scr ${DEPLOYDIR}/boot.scr
    install -m 0644 variables.bin ${DEPLOYDIR}/fleetcd-variables.bin
}
addtask deploy after do_compile before do_build
