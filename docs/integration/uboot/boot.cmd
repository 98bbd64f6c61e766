# Starts one of two slots. Shown on Debian 12's U-Boot 2023.01 for QEMU's arm64 board (raw).
# Build it:   mkimage -T script -C none -d boot.cmd boot.scr
# U-Boot's distro boot finds boot.scr on the boot partition, and sets ${devtype} and ${devnum}. It
# needs hush, setexpr, itest, part, load, and `env` with exists, import and export.
#
# The agent and this script talk by four variables:
#   fleetcd_primary   a or b: the slot that starts
#   fleetcd_trial     a or b: the slot to try, or none
#   fleetcd_left      0 to 9: how often it may still be started
#   fleetcd_seq       hexadecimal, one more at each save: of two copies the higher one counts
# A try is counted and saved BEFORE the trial starts, and none starts when that cannot be saved: a
# try that was not counted could be repeated for ever. Without tries the primary starts.
#
# raw: two copies, each with a checksum, on a partition without a filesystem, of 1 MiB or more. Only
# the older one is written, so that one is intact whenever the power goes. It needs no support for
# U-Boot's own environment, and leaves that alone. The agent needs two files, both in
# boot.environments of agent.toml (here for partition 2 of an eMMC):
#   /etc/fw_env.0.config:   /dev/mmcblk0p2 0x0     0x4000
#   /etc/fw_env.1.config:   /dev/mmcblk0p2 0x80000 0x4000
# saveenv: in U-Boot's own environment, for boards that have a working saveenv. Configure U-Boot
# with CONFIG_SYS_REDUNDAND_ENVIRONMENT, and name both places in one fw_env.config.
#
# Nothing here notices a slot that hangs: give the kernel a watchdog, and panic=<seconds>.

# Settings. A variable of the same name in U-Boot's environment comes before the value here.
fleetcd_store=raw
fleetcd_environment=2
fleetcd_part_a=3
fleetcd_part_b=4
fleetcd_kernel=/boot/vmlinuz
fleetcd_boot=booti
fleetcd_args="panic=5"
# Set these two as well where a slot has them: /boot/initrd.img, /boot/board.dtb
fleetcd_initrd=none
fleetcd_fdt=none
# Scratch memory for both copies, 128 KiB. The kernel comes here later.
fleetcd_ram=${kernel_addr_r}

# What the agent left. With two copies: the newest intact one, and fleetcd_old is where the other is.
fleetcd_names="fleetcd_primary fleetcd_trial fleetcd_left fleetcd_seq"
if test "${fleetcd_store}" = raw; then
  part start ${devtype} ${devnum} ${fleetcd_environment} fleetcd_at_0
  setexpr fleetcd_at_1 ${fleetcd_at_0} + 0x400
  setexpr fleetcd_ram_1 ${fleetcd_ram} + 0x10000
  fleetcd_newest=none
  fleetcd_seq_0=0
  fleetcd_seq_1=0
  if ${devtype} read ${fleetcd_ram} ${fleetcd_at_0} 0x20; then
    if env import -c ${fleetcd_ram} 0x4000 ${fleetcd_names}; then
      fleetcd_newest=0
      if env exists fleetcd_seq; then fleetcd_seq_0=${fleetcd_seq}; fi
    fi
  fi
  if ${devtype} read ${fleetcd_ram_1} ${fleetcd_at_1} 0x20; then
    if env import -c ${fleetcd_ram_1} 0x4000 ${fleetcd_names}; then
      if env exists fleetcd_seq; then fleetcd_seq_1=${fleetcd_seq}; fi
      if test ${fleetcd_newest} = none; then
        fleetcd_newest=1
      elif itest ${fleetcd_seq_1} -gt ${fleetcd_seq_0}; then
        fleetcd_newest=1
      fi
    fi
  fi
  fleetcd_old=${fleetcd_at_0}
  fleetcd_new=${fleetcd_at_1}
  fleetcd_counted=${fleetcd_seq_1}
  if test ${fleetcd_newest} = 0; then
    env import -c ${fleetcd_ram} 0x4000 ${fleetcd_names}
    fleetcd_old=${fleetcd_at_1}
    fleetcd_counted=${fleetcd_seq_0}
  fi
  if test ${fleetcd_newest} = none; then
    echo "fleetcd: no intact copy of the boot variables"
    setenv fleetcd_primary lost
  fi
fi

# A new board, or everything lost: the first slot that has a kernel is the primary from now on.
fleetcd_save=no
if test "${fleetcd_primary}" != a && test "${fleetcd_primary}" != b; then
  setenv fleetcd_primary b
  if test -e ${devtype} ${devnum}:${fleetcd_part_a} ${fleetcd_kernel}; then
    setenv fleetcd_primary a
  fi
  setenv fleetcd_trial none
  setenv fleetcd_left 0
  fleetcd_save=yes
fi

# A trial with tries left costs one. Anything but a digit from 1 to 9 is no try.
fleetcd_other=b
if test "${fleetcd_primary}" = b; then fleetcd_other=a; fi
fleetcd_try=no
if test "${fleetcd_trial}" = ${fleetcd_other}; then
  for fleetcd_digit in 1 2 3 4 5 6 7 8 9; do
    if test "${fleetcd_left}" = ${fleetcd_digit}; then fleetcd_try=yes; fi
  done
fi
if test ${fleetcd_try} = yes; then
  setexpr fleetcd_left ${fleetcd_left} - 1
  fleetcd_save=yes
fi

# Only the older copy, which saveenv picks by itself, if the other is intact: U-Boot flushes no write
# cache of a disk, so that a power cut in the next seconds may tear what is written here. The agent
# makes both copies alike again.
fleetcd_saved=no
if test ${fleetcd_save} = yes; then
  if test "${fleetcd_store}" = raw; then
    setexpr fleetcd_seq ${fleetcd_counted} + 1
    if env export -c -s 0x4000 ${fleetcd_ram} ${fleetcd_names}; then
      if ${devtype} write ${fleetcd_ram} ${fleetcd_old} 0x20; then
        fleetcd_saved=yes
        if test ${fleetcd_newest} = none; then
          ${devtype} write ${fleetcd_ram} ${fleetcd_new} 0x20
        fi
      fi
    fi
  else
    if saveenv; then
      fleetcd_saved=yes
      if test ${fleetcd_try} = no; then saveenv; fi
    fi
  fi
fi

fleetcd_first=${fleetcd_primary}
fleetcd_second=${fleetcd_other}
if test ${fleetcd_try} = yes; then
  if test ${fleetcd_saved} = yes; then
    fleetcd_first=${fleetcd_other}
    fleetcd_second=${fleetcd_primary}
  else
    echo "fleetcd: the try cannot be saved, so slot ${fleetcd_other} is not tried"
  fi
fi

# A slot that does not load makes way for the other one in the same boot. Each is tried once; then
# U-Boot goes on with its next boot target. The variables stay as they are: the agent restarts once,
# and when the primary does not load then either, makes the slot that runs the primary.
for fleetcd_slot in ${fleetcd_first} ${fleetcd_second}; do
  fleetcd_part=${fleetcd_part_a}
  if test ${fleetcd_slot} = b; then fleetcd_part=${fleetcd_part_b}; fi
  part uuid ${devtype} ${devnum}:${fleetcd_part} fleetcd_uuid
  setenv bootargs "root=PARTUUID=${fleetcd_uuid} ro rootwait fleetcd.slot=${fleetcd_slot} ${fleetcd_args}"
  echo "fleetcd: slot ${fleetcd_slot} (primary ${fleetcd_primary}, trial ${fleetcd_trial}, left ${fleetcd_left})"
  fleetcd_loaded=no
  if load ${devtype} ${devnum}:${fleetcd_part} ${kernel_addr_r} ${fleetcd_kernel}; then
    fleetcd_loaded=yes
  fi
  fleetcd_fdt_at=${fdtcontroladdr}
  if test "${fleetcd_fdt}" != none; then
    fleetcd_fdt_at=${fdt_addr_r}
    load ${devtype} ${devnum}:${fleetcd_part} ${fdt_addr_r} ${fleetcd_fdt} || fleetcd_loaded=no
  fi
  fleetcd_initrd_at=-
  if test "${fleetcd_initrd}" != none; then
    if load ${devtype} ${devnum}:${fleetcd_part} ${ramdisk_addr_r} ${fleetcd_initrd}; then
      fleetcd_initrd_at=${ramdisk_addr_r}:${filesize}
    else
      fleetcd_loaded=no
    fi
  fi
  if test ${fleetcd_loaded} = yes; then
    ${fleetcd_boot} ${kernel_addr_r} ${fleetcd_initrd_at} ${fleetcd_fdt_at}
  fi
  echo "fleetcd: slot ${fleetcd_slot} does not start"
done
echo "fleetcd: neither slot starts"
