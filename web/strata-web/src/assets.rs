//! The files that the binary carries, with their types and content hashes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;

use rust_embed::RustEmbed;

/// How much of the content's SHA-256 goes into URL and ETag, in bytes.
const HASH_BYTES: usize = 6;

#[derive(RustEmbed)]
#[folder = "assets/"]
struct Own;

#[derive(RustEmbed)]
#[folder = "dist/"]
struct Fetched;

/// An embedded file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// Its MIME type with character set.
    pub mime: &'static str,
    /// Start of its SHA-256 in hexadecimal: the `v` of its URL.
    pub hash: String,
}

/// The file of that name; none when the binary carries no such file. Names are plain: no folders, so no path to escape by.
#[must_use]
pub fn asset(name: &str) -> Option<Asset> {
    if name.contains(['/', '\\']) {
        return None;
    }
    let file = Own::get(name).or_else(|| Fetched::get(name))?;
    let hash = short_hex(&file.metadata.sha256_hash());
    Some(Asset { bytes: file.data, mime: mime(name), hash })
}

/// The address of a file, with its content's hash so that browsers may keep it for ever.
#[must_use]
pub fn asset_url(name: &str) -> String {
    static HASHES: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    let hashes = HASHES.get_or_init(|| {
        let names = Own::iter().chain(Fetched::iter());
        names.filter_map(|name| Some((name.to_string(), asset(&name)?.hash))).collect()
    });
    match hashes.get(name) {
        Some(hash) => format!("/assets/{name}?v={hash}"),
        None => format!("/assets/{name}"),
    }
}

fn short_hex(hash: &[u8]) -> String {
    hash.iter().take(HASH_BYTES).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

fn mime(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_sheet_and_player_are_carried_with_their_types() {
        assert_eq!(asset("strata.css").unwrap().mime, "text/css; charset=utf-8");
        let player = asset("hls.light.min.js").unwrap();
        assert_eq!(player.mime, "text/javascript; charset=utf-8");
        assert!(asset_url("hls.light.min.js").ends_with(&format!("?v={}", player.hash)));
    }

    #[test]
    fn nothing_outside_the_list_is_served() {
        for name in ["", "..", "../Cargo.toml", "sub/strata.css", "..\\lib.rs", "strata.css/"] {
            assert!(asset(name).is_none(), "{name:?}");
        }
    }
}
