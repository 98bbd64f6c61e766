SUMMARY = "A slot: the agent, and nothing of your product yet"
LICENSE = "Apache-2.0"

inherit core-image

IMAGE_FEATURES += "read-only-rootfs"
IMAGE_INSTALL:append = " fleetcd-agent kernel-image kernel-modules kernel-devicetree"

# ext4.zst is what `fleetcd release add` takes; wic is the whole disk, for the factory.
IMAGE_FSTYPES = "ext4.zst wic"
EXTRA_IMAGECMD:ext4 = "-i 4096 -O ^has_journal"
WKS_FILE = "fleetcd-uboot.wks"
IMAGE_BOOT_FILES:append = " boot.scr"
do_image_wic[depends] += "fleetcd-boot:do_deploy"

# The kernel where boot.cmd looks for it, and the data partition.
fleetcd_slot() {
    ln -sf ${KERNEL_IMAGETYPE} ${IMAGE_ROOTFS}/boot/vmlinuz
    install -d ${IMAGE_ROOTFS}/data
    echo "LABEL=data /data ext4 defaults,noatime 0 2" >> ${IMAGE_ROOTFS}${sysconfdir}/fstab
}
ROOTFS_POSTPROCESS_COMMAND += "fleetcd_slot;"
