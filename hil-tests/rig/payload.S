// Stands for a kernel in the boot script's table test: says so on the console (PL011 of QEMU's "virt") and powers
// off by PSCI. Header: Documentation/arch/arm64/booting.rst of Linux.
        .text
        b       start
        .long   0
        .quad   0               // text offset
        .quad   end - .text     // image size
        .quad   0xa             // 4 KiB pages, anywhere in memory
        .quad   0, 0, 0
        .ascii  "ARM\x64"
        .long   0
start:  adr     x1, words
        movz    x2, #0x0900, lsl #16
next:   ldrb    w3, [x1], #1
        cbz     w3, off
        strb    w3, [x2]
        b       next
off:    movz    w0, #0x8400, lsl #16
        movk    w0, #0x0008     // SYSTEM_OFF
        hvc     #0
        b       off
words:  .asciz  "\r\nSTRATA-PAYLOAD\r\n"
        .balign 8
end:
