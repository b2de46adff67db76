//! What RAUC says went wrong, in one sentence a support person understands.
//!
//! Pure: RAUC's own text in, what happened and what to do out. The texts are
//! those of RAUC 1.13 to 1.15 (`bundle.c`, `signature.c`, `nbd.c`, `install.c`,
//! `update_handler.c`) and of the libraries below it (OpenSSL, GLib, libc). What
//! is not known is passed on as it is, never hidden.

use std::fmt;

/// How much of RAUC's own words a sentence repeats at most.
const RAW_BYTES: usize = 1_000;

/// What kind of failure it is, for programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FailureKind {
    /// Signed by nobody this device trusts, or the signature does not fit.
    Signature,
    /// The signer's certificate is no longer, or not yet, valid.
    Expired,
    /// Made for another device.
    Compatible,
    /// Cut off or damaged.
    Damaged,
    /// A format that this device does not take.
    Format,
    /// The server has no such file, or does not hand it out.
    NotFound,
    /// The server was not reached.
    Unreachable,
    /// The server went away in the middle.
    ConnectionLost,
    /// It does not fit.
    NoSpace,
    /// RAUC, or the slot, is busy.
    Busy,
    /// RAUC does not run.
    NoRauc,
    /// RAUC was lost while it installed: it may go on to the end, or be there already.
    Lost,
    /// The boot loader's state cannot be read or written.
    BootState,
    /// Not the build that was asked for.
    OtherBuild,
    /// Something else.
    Other,
}

/// Why RAUC did not do something.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// For people.
    pub sentence: String,
    /// RAUC's own words, for the log.
    pub raw: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// Whether a bundle is fetched from a server.
#[must_use]
pub fn is_remote(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Translates RAUC's text about the bundle at `source`.
#[must_use]
pub fn translate(raw: &str, source: &str) -> Failure {
    let whole = raw.trim();
    // The status, and with it this sentence, goes over sockets that take lines of 64 KiB.
    let raw = &whole[..whole.floor_char_boundary(RAW_BYTES)];
    let (kind, sentence) = of_server(raw, source)
        .or_else(|| of_signature(raw, source))
        .or_else(|| of_content(raw, source))
        .or_else(|| of_device(raw))
        .or_else(|| of_reading(raw, source))
        .unwrap_or_else(|| (FailureKind::Other, format!("The bundle {source} was not installed: {raw}.")));
    Failure { kind, sentence, raw: whole.to_owned() }
}

type Found = Option<(FailureKind, String)>;

/// What the server answered at the beginning (`nbd.c`), or that the file is not there.
fn of_server(raw: &str, source: &str) -> Found {
    let has = |part: &str| raw.contains(part);
    if let Some(code) = after(raw, "unexpected HTTP error code ") {
        let code = code.trim_end_matches(|c: char| !c.is_ascii_digit());
        let sentence = match code {
            "404" | "410" => format!("The server has no file at {source} (HTTP {code}): check the bundle's address."),
            "401" | "403" => {
                format!(
                    "The server does not hand out {source} (HTTP {code}): check the bundle's address and who may read it."
                )
            }
            _ => format!("The server answered HTTP {code} for {source}: try again later, or look at the server's log."),
        };
        return Some((FailureKind::NotFound, sentence));
    }
    if has("range requests not supported by server") || has("server did not send bundle size") {
        let sentence = format!(
            "The server at {source} cannot hand out parts of a file (HTTP range requests): use another server."
        );
        return Some((FailureKind::NotFound, sentence));
    }
    if has("server not responding") || has("incomplete HTTP response") || has("failed to configure streaming") {
        let sentence = format!(
            "The server of {source} was not reached: is the device online, is the name right, does the server run?"
        );
        return Some((FailureKind::Unreachable, sentence));
    }
    let no_file = has("No such file or directory") && (has("opening file") || has("open bundle") || has("open file"));
    if no_file && !has("not found in bundle") && !has("/dev/") {
        return Some((FailureKind::NotFound, format!("There is no file {source} on the device: check the path.")));
    }
    None
}

/// Who signed it (`signature.c`; OpenSSL's `x509_txt.c` and `cms_err.c`).
fn of_signature(raw: &str, source: &str) -> Found {
    let has = |part: &str| raw.contains(part);
    if has("certificate has expired") {
        let sentence = format!(
            "The certificate that the bundle {source} was signed with has expired: a bundle signed with a valid one is needed (or the device's clock is wrong)."
        );
        return Some((FailureKind::Expired, sentence));
    }
    if has("certificate is not yet valid") {
        let sentence = format!(
            "The certificate that the bundle {source} was signed with is not valid yet: is the device's clock right?"
        );
        return Some((FailureKind::Expired, sentence));
    }
    if has("certificate revoked") {
        let sentence =
            format!("The certificate that the bundle {source} was signed with was revoked: use a newer bundle.");
        return Some((FailureKind::Signature, sentence));
    }
    if has("local issuer certificate")
        || has("self-signed certificate")
        || has("self signed certificate")
        || has("unable to verify the first certificate")
    {
        let sentence = format!(
            "The bundle {source} was signed by somebody this device does not trust: only bundles of its maker can be installed."
        );
        return Some((FailureKind::Signature, sentence));
    }
    if has("signature verification failed") || has("Failed to verify X509 cert") || has("certificate purpose") {
        let sentence = format!(
            "The signature of the bundle {source} does not fit: it was changed after it was signed, or signed with a wrong certificate."
        );
        return Some((FailureKind::Signature, sentence));
    }
    if has("No keyring file or directory provided") || has("failed to load CA file") {
        let sentence = "This device has no certificates to check a bundle's signature with (RAUC's keyring): its image is damaged.".to_owned();
        return Some((FailureKind::Signature, sentence));
    }
    None
}

/// What the bundle is (`bundle.c`, `manifest.c`, `install.c`).
fn of_content(raw: &str, source: &str) -> Found {
    let has = |part: &str| raw.contains(part);
    if let Some(rest) = after(raw, "Compatible mismatch: Expected '") {
        let mut names = rest.split('\'');
        let (own, other) = (names.next().unwrap_or_default(), names.nth(1).unwrap_or_default());
        return Some((FailureKind::Compatible, wrong_compatible(source, own, other)));
    }
    if has("unexpected hash (expected") {
        return Some((FailureKind::OtherBuild, other_build(source)));
    }
    if has("Version mismatch: Expected at least") {
        return Some((FailureKind::Other, format!("The bundle {source} is older than this device accepts ({raw}).")));
    }
    if has("Bundle format 'plain'") || has("plain bundle") {
        let sentence = format!(
            "The bundle {source} has the format “plain”, which this device does not take: build it with format=verity."
        );
        return Some((FailureKind::Format, sentence));
    }
    if has("Bundle format '") || has("Encrypted bundle detected") || has("unencrypted crypt bundles") {
        let sentence =
            format!("The bundle {source} has a format that this device does not take: build it with format=verity.");
        return Some((FailureKind::Format, sentence));
    }
    let cut_off = [
        "Signature size",
        "Bundle size (",
        "is not a multiple of 4KiB",
        "failed to parse signature",
        "Failed to parse signature",
        "is no valid CMS",
        "Failed to read signature",
        "Failed to seek to",
        "Bundle is not a regular file",
        "bundle payload is corrupted",
        "Failed to load manifest",
        "image/partition ended unexpectedly",
        "data chunk hash differs",
        "not found in bundle",
        "Unexpected dm-verity status",
    ];
    if cut_off.iter().any(|part| has(part)) && !has("from remote server") {
        let sentence =
            format!("The file {source} is cut off or damaged, or no bundle at all: copy or upload it again.");
        return Some((FailureKind::Damaged, sentence));
    }
    None
}

/// What stands in the way on the device.
fn of_device(raw: &str) -> Found {
    let has = |part: &str| raw.contains(part);
    if has("is too small for image") || has("does not fit to slot size") {
        let sentence = format!(
            "The system in the bundle is larger than this device's slot ({raw}): it was built for another device."
        );
        return Some((FailureKind::NoSpace, sentence));
    }
    if has("No space left on device") {
        let sentence = "There is no space left on the device's data partition for RAUC's own files: delete recordings, then try again.".to_owned();
        return Some((FailureKind::NoSpace, sentence));
    }
    if has("lready processing a different method") {
        let sentence = "RAUC is busy with something else: try again in a minute.".to_owned();
        return Some((FailureKind::Busy, sentence));
    }
    if has("still mounted") || has("already mounted") || has("Device or resource busy") {
        let sentence = format!("The slot to be written is in use ({raw}): reboot the device, then try again.");
        return Some((FailureKind::Busy, sentence));
    }
    if has("non-bootable")
        || has("failed to activate slot")
        || has("bootable:")
        || has("fw_setenv")
        || has("fw_printenv")
    {
        let sentence = format!("The boot loader's state cannot be written ({raw}): the device's disk may be failing.");
        return Some((FailureKind::BootState, sentence));
    }
    if has("Destination device") || has("writing to file descriptor") || has("Opening output device failed") {
        let sentence = format!("The slot cannot be written ({raw}): the device's disk may be failing.");
        return Some((FailureKind::Other, sentence));
    }
    None
}

/// Reading broke off in the middle: from a server as a rule its end or the link's, from a file its damage.
fn of_reading(raw: &str, source: &str) -> Found {
    let broken = [
        "Input/output error",
        "failed to read data from remote server",
        "Check read from dm-verity device failed",
        "Failed to copy data",
        "failed to mount bundle",
        "nbd server",
    ];
    if !broken.iter().any(|part| raw.contains(part)) {
        return None;
    }
    Some(if is_remote(source) {
        let sentence = format!(
            "The server of {source} stopped answering in the middle, or sent damaged data: the device runs what it ran before; try again."
        );
        (FailureKind::ConnectionLost, sentence)
    } else {
        let sentence = format!("The file {source} is damaged or can no longer be read: copy it again.");
        (FailureKind::Damaged, sentence)
    })
}

/// The bundle is for another kind of device.
#[must_use]
pub fn wrong_compatible(source: &str, own: &str, other: &str) -> String {
    format!("The bundle {source} is for “{other}”, but this device is a “{own}”: choose the bundle made for it.")
}

/// Another build than the one asked for.
#[must_use]
pub fn other_build(source: &str) -> String {
    format!("The bundle {source} is another build than the one that was asked for (the manifest's SHA-256 differs).")
}

fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start).map(|(_, rest)| rest)
}

#[cfg(test)]
#[path = "messages_tests.rs"]
mod tests;
