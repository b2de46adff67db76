# The virtual device: QEMU's arm64 "virt" with an SD card.
COMPATIBLE=strata-virtual
CONSOLE=ttyAMA0
FDTFILE=
# An emulated processor is slow: what waits for devices and services has patience, and the console says little.
KERNEL_ARGUMENTS='quiet loglevel=4 systemd.show_status=0 systemd.default_device_timeout_sec=300 systemd.default_timeout_start_sec=300'
