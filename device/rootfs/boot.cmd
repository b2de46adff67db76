# Strata's boot script, for boards and the virtual device alike. U-Boot's standard boot finds it as boot.scr on
# the partition "boot" and sets devtype and devnum; it chooses a root slot, counts the attempt, and starts its kernel.
#
# State, in U-Boot's environment (two copies with checksums, see fw_env.config; RAUC writes the first three):
#   BOOT_ORDER                slots, the wanted one first
#   BOOT_A_LEFT, BOOT_B_LEFT  attempts left; an attempt is counted before it is made, and given back by "good"
#   strata_rounds             how often all attempts of both slots were used up
#   strata_skipped            slots passed over in this boot, with the reason, for the device to tell

setenv strata_tries 3
test -n "${BOOT_ORDER}" || setenv BOOT_ORDER "A B"
test -n "${BOOT_A_LEFT}" || setenv BOOT_A_LEFT ${strata_tries}
test -n "${BOOT_B_LEFT}" || setenv BOOT_B_LEFT ${strata_tries}
test -n "${strata_rounds}" || setenv strata_rounds 0
setenv strata_skipped

# What differs between machines: console, device tree, file names. Text, one name=value per line.
if load ${devtype} ${devnum}:${distro_bootpart} ${scriptaddr} machine.env; then
  env import -t ${scriptaddr} ${filesize} console fdtfile strata_args
fi

# RAUC takes a slot that failed out of the order: after a new round it is tried all the same.
for slot in ${BOOT_ORDER} A B; do
  setenv left 0
  if test "${slot}" = "A"; then setenv left ${BOOT_A_LEFT}; setenv label rootfs-a; fi
  if test "${slot}" = "B"; then setenv left ${BOOT_B_LEFT}; setenv label rootfs-b; fi
  if test ${left} -gt 0; then
    setexpr left ${left} - 1
    setenv BOOT_${slot}_LEFT ${left}
    # Written before the attempt: a kernel that hangs has used it.
    saveenv
    setenv why
    if part number ${devtype} ${devnum} ${label} part; then
      part uuid ${devtype} ${devnum}:${part} partuuid
      if load ${devtype} ${devnum}:${part} ${kernel_addr_r} boot/Image; then
        # A kernel may be compressed; booti wants to know how much of it there is, and where there is room.
        setenv kernel_comp_size ${filesize}
        test -n "${kernel_comp_addr_r}" || setenv kernel_comp_addr_r 50000000
        if load ${devtype} ${devnum}:${part} ${ramdisk_addr_r} boot/initrd; then
          setenv initrd ${ramdisk_addr_r}:${filesize}
          setenv fdt ${fdtcontroladdr}
          if test -n "${fdtfile}"; then
            setenv fdt ${fdt_addr_r}
            load ${devtype} ${devnum}:${part} ${fdt_addr_r} boot/dtb/${fdtfile} || setenv why devicetree-missing
          fi
          if test -z "${why}"; then
            # "gpt": the partition table's copy counts, when a power cut has spoilt the first one.
            setenv bootargs "root=PARTUUID=${partuuid} ro rauc.slot=${slot} console=${console} panic=5 gpt systemd.gpt_auto=0 strata.rounds=${strata_rounds} ${strata_args}"
            test -z "${strata_skipped}" || setenv bootargs "${bootargs} strata.skipped=${strata_skipped}"
            echo "Strata: slot ${slot}, attempts left ${left}"
            booti ${kernel_addr_r} ${initrd} ${fdt}
            setenv why kernel-refused
          fi
        else
          setenv why initrd-missing
        fi
      else
        setenv why kernel-missing
      fi
    else
      setenv why partition-missing
    fi
    # What is missing now is missing at the next attempt: no use in counting down.
    setenv BOOT_${slot}_LEFT 0
    setenv strata_skipped "${strata_skipped}${slot}:${why},"
    echo "Strata: slot ${slot} passed over: ${why}"
  fi
done

# Both are used up. Power cuts while booting can do that to good slots: try both again, and count.
# One digit, as setexpr counts in hexadecimal: what matters is that the number is another one.
test ${strata_rounds} -lt 9 || setenv strata_rounds 0
setexpr strata_rounds ${strata_rounds} + 1
setenv BOOT_A_LEFT ${strata_tries}
setenv BOOT_B_LEFT ${strata_tries}
saveenv
echo "Strata: no slot has an attempt left; round ${strata_rounds}, starting over"
sleep 5
reset
