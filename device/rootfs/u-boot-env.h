/*
 * What U-Boot takes from its stored environment; everything else comes from its own defaults, so that nothing that
 * is written there changes how it boots. Given to U-Boot's build by -include, on every machine.
 */
#define CFG_ENV_FLAGS_LIST_STATIC                                            \
	"BOOT_ORDER:sw,BOOT_A_LEFT:dw,BOOT_B_LEFT:dw,strata_rounds:dw"
