//! RAUC's real texts, one by one.

use super::FailureKind::{
    BootState, Busy, Compatible, ConnectionLost, Damaged, Expired, Format, NoSpace, NotFound, Other, OtherBuild,
    Signature, Unreachable,
};
use super::*;

const URL: &str = "http://relay.example/strata-0.2.0.raucb";
const FILE: &str = "/data/strata-0.2.0.raucb";

/// The bundle's address, RAUC's text, the kind, a part of the sentence.
const TABLE: &[(&str, &str, FailureKind, &str)] = &[
    (URL, "Failed to stream bundle http://x: not found: unexpected HTTP error code 404", NotFound, "no file at http"),
    (URL, "Failed to stream bundle http://x: unauthorized: unexpected HTTP error code 401", NotFound, "(HTTP 401)"),
    (
        URL,
        "Failed to stream bundle http://x: failed to configure streaming: unexpected HTTP error code 503",
        NotFound,
        "answered HTTP 503",
    ),
    (
        URL,
        "Failed to stream bundle http://x: failed to configure streaming: server not responding",
        Unreachable,
        "was not reached",
    ),
    (
        URL,
        "Failed to stream bundle http://x: failed to configure streaming: incomplete HTTP response",
        Unreachable,
        "was not reached",
    ),
    (
        URL,
        "Failed to stream bundle http://x: failed to configure streaming: range requests not supported by server",
        NotFound,
        "range requests",
    ),
    (URL, "Failed to stream bundle http://x: server did not send bundle size", NotFound, "range requests"),
    (
        FILE,
        "Invalid bundle format: Failed to open bundle for reading: Error opening file /data/x: No such file or directory",
        NotFound,
        "no file /data",
    ),
    (URL, "signature verification failed: Verify error: certificate has expired", Expired, "has expired"),
    (URL, "Failed to verify X509 cert: certificate has expired", Expired, "has expired"),
    (URL, "signature verification failed: Verify error: certificate is not yet valid", Expired, "clock"),
    (URL, "signature verification failed: Verify error: certificate revoked", Signature, "revoked"),
    (
        URL,
        "signature verification failed: Verify error: unable to get local issuer certificate",
        Signature,
        "does not trust",
    ),
    (
        URL,
        "signature verification failed: Verify error: self-signed certificate in certificate chain",
        Signature,
        "does not trust",
    ),
    (URL, "signature verification failed: Verify error: unsuitable certificate purpose", Signature, "does not fit"),
    (
        URL,
        "signature verification failed: error:1700009E:CMS routines::verification failure",
        Signature,
        "does not fit",
    ),
    (URL, "No keyring file or directory provided", Signature, "image is damaged"),
    (URL, "failed to load CA file '/etc/rauc/keyring.pem' and/or directory '(null)'", Signature, "image is damaged"),
    (
        URL,
        "Compatible mismatch: Expected 'strata-virtual' but bundle manifest has 'strata-rock-5b'",
        Compatible,
        "is for “strata-rock-5b”, but this device is a “strata-virtual”",
    ),
    (URL, "Refusing to install bundle with unexpected hash (expected aa, got bb)", OtherBuild, "another build"),
    (
        URL,
        "Version mismatch: Expected at least '1.0.0' but bundle manifest has '0.9.0'",
        Other,
        "older than this device accepts",
    ),
    (URL, "Bundle format 'plain' not supported in streaming mode", Format, "format=verity"),
    (FILE, "Bundle format 'plain' not allowed", Format, "“plain”"),
    (FILE, "Bundle format 'crypt' not allowed", Format, "format=verity"),
    (
        FILE,
        "Encrypted bundle detected, but no decryption key given. Use --key=<PEMFILE|PKCS11-URL> to provide one.",
        Format,
        "format=verity",
    ),
    (
        URL,
        "Invalid bundle format: Signature size (6293595232311214) exceeds bundle size",
        Damaged,
        "cut off or damaged",
    ),
    (URL, "Invalid bundle format: Signature size is 0", Damaged, "cut off or damaged"),
    (URL, "Invalid bundle format: Bundle size (3) is too small", Damaged, "cut off or damaged"),
    (
        URL,
        "Invalid bundle format: Payload size (1234) is not a multiple of 4KiB. See https://rauc.readthedocs.io/x",
        Damaged,
        "cut off or damaged",
    ),
    (URL, "Invalid bundle format: failed to parse signature", Damaged, "cut off or damaged"),
    (URL, "Invalid bundle format: Signature data is no valid CMS", Damaged, "cut off or damaged"),
    (FILE, "bundle payload is corrupted", Damaged, "cut off or damaged"),
    (FILE, "Installation error: Source image 'rootfs.ext4' not found in bundle", Damaged, "cut off or damaged"),
    (
        URL,
        "Installation error: Failed updating slot rootfs.1: Slot (1048576 bytes) is too small for image (2097152 bytes).",
        NoSpace,
        "larger than this device's slot",
    ),
    (URL, "Installation error: Error while writing status file: No space left on device", NoSpace, "no space left"),
    (URL, "Already processing a different method", Busy, "RAUC is busy"),
    (URL, "already processing a different method", Busy, "RAUC is busy"),
    (URL, "Installation error: Slot '/dev/vda4' still mounted", Busy, "in use"),
    (URL, "Installation error: Destination device '/dev/vda4' already mounted", Busy, "in use"),
    (
        URL,
        "Installation error: Failed marking slot rootfs.1 non-bootable: Failed marking slot rootfs.1 as bad:  x",
        BootState,
        "boot loader's state",
    ),
    (
        URL,
        "Installation error: Failed marking slot rootfs.1 bootable: failed to activate slot rootfs.1: x",
        BootState,
        "boot loader's state",
    ),
    (
        URL,
        "Installation error: Destination device '/dev/vda9' for slot 'rootfs.1' not found",
        Other,
        "cannot be written",
    ),
    (
        URL,
        "Installation error: Failed updating slot rootfs.1: Failed to copy data: Error reading from file: Input/output error",
        ConnectionLost,
        "stopped answering in the middle",
    ),
    (
        URL,
        "Failed mounting bundle: Check read from dm-verity device failed: Input/output error",
        ConnectionLost,
        "stopped answering in the middle",
    ),
    (
        URL,
        "Invalid bundle format: Failed to read signature from bundle: failed to read data from remote server",
        ConnectionLost,
        "stopped answering in the middle",
    ),
    (
        FILE,
        "Installation error: Failed updating slot rootfs.1: Failed to copy data: Error reading from file: Input/output error",
        Damaged,
        "copy it again",
    ),
    (
        URL,
        "Installation error: Failed updating slot rootfs.1: Failed to copy data: Error writing to file descriptor: Input/output error",
        Other,
        "disk may be failing",
    ),
    (URL, "something that nobody knows yet", Other, "was not installed: something that nobody knows yet."),
];

#[test]
fn each_text_of_rauc_has_its_sentence() {
    for (source, raw, kind, part) in TABLE {
        let failure = translate(raw, source);
        assert_eq!(failure.kind, *kind, "{raw}: {failure}");
        assert!(failure.sentence.contains(part), "{raw}: {failure}");
        assert_eq!(failure.raw, *raw);
    }
}
