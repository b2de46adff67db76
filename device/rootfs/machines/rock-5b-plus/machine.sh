# Radxa ROCK 5B+.
COMPATIBLE=strata-rock-5b-plus
CONSOLE=ttyS2,1500000n8
FDTFILE=rk3588-rock-5b-plus.dtb
KERNEL_ARGUMENTS=''
