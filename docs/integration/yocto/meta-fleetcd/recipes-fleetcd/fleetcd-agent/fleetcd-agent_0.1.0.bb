SUMMARY = "Keeps a device at what its fleet's signed manifest says"
DESCRIPTION = "The agent as one file that Python runs, its Update Modules, and its systemd units"
# The archive brings tuf, securesystemslib and urllib3 along.
LICENSE = "Apache-2.0 & MIT"
LIC_FILES_CHKSUM = "\
    file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10 \
    file://${COMMON_LICENSE_DIR}/MIT;md5=0835ade698e0bcf8506ecda2f7b4f302 \
"

# What `make agent` wrote into the checkout that this layer lies in.
FILESEXTRAPATHS:prepend := "${THISDIR}/../../../../../../dist:"

# root.json and ca.pem are not in this layer: they are your server's, see its README.
SRC_URI = "\
    file://fleetcd-agent.pyz \
    file://modules \
    file://configure \
    file://agent.toml.in \
    file://fw_env.0.config \
    file://fw_env.1.config \
    file://root.json \
    file://ca.pem \
    file://fleetcd-agent.service \
    file://fleetcd-agent-again.timer \
    file://fleetcd-trial-over.service \
    file://fleetcd-trial-deadline.timer \
"
S = "${WORKDIR}"

inherit systemd

SYSTEMD_SERVICE:${PN} = "fleetcd-agent.service fleetcd-trial-deadline.timer"
RDEPENDS:${PN} = "python3-modules python3-cryptography zstd libubootenv-bin"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0755 ${S}/fleetcd-agent.pyz ${D}${bindir}/fleetcd-agent
    install -D -m 0755 ${S}/configure ${D}${nonarch_libdir}/fleetcd/configure

    install -d ${D}${datadir}/fleetcd/modules/v3/fleetcd_modules
    for module in single-file directory script deb; do
        install -m 0755 ${S}/modules/v3/$module ${D}${datadir}/fleetcd/modules/v3/
    done
    install -m 0644 ${S}/modules/v3/fleetcd_modules/*.py ${D}${datadir}/fleetcd/modules/v3/fleetcd_modules/

    install -d ${D}${sysconfdir}/fleetcd
    install -m 0644 ${S}/fw_env.0.config ${S}/fw_env.1.config ${D}${sysconfdir}/
    for file in agent.toml.in root.json ca.pem; do
        install -m 0644 ${S}/$file ${D}${sysconfdir}/fleetcd/
    done
    ln -s /run/fleetcd/agent.toml ${D}${sysconfdir}/fleetcd/agent.toml

    install -d ${D}${systemd_system_unitdir}
    for unit in \
        fleetcd-agent.service \
        fleetcd-agent-again.timer \
        fleetcd-trial-over.service \
        fleetcd-trial-deadline.timer
    do
        install -m 0644 ${S}/$unit ${D}${systemd_system_unitdir}/
    done
}

FILES:${PN} = "\
    ${bindir}/fleetcd-agent \
    ${nonarch_libdir}/fleetcd \
    ${datadir}/fleetcd \
    ${sysconfdir}/fleetcd \
    ${sysconfdir}/fw_env.0.config \
    ${sysconfdir}/fw_env.1.config \
    ${systemd_system_unitdir} \
"
