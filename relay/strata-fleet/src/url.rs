//! Addresses that people give: read far enough to refuse what cannot be one, and to know where it leads.
//!
//! Owns the reading; whether an address may lead there is the caller's to say.

/// The longest address, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// What sort of address is expected.
pub(crate) struct Expected {
    /// Schemes, each with its default port.
    pub(crate) schemes: &'static [(&'static str, u16)],
    /// The schemes for people: `rtmp:// or rtmps://`.
    pub(crate) words: &'static str,
    /// What to do about a user name in it.
    pub(crate) no_user: &'static str,
}

#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Reads `SCHEME://HOST[:PORT]/PATH`; the text of an error is for people and repeats no more than scheme and host.
pub(crate) fn parse_url(url: &str, expected: &Expected) -> Result<Target, String> {
    let words = expected.words;
    if url.len() > MAX_URL_BYTES {
        return Err(format!("the URL is longer than {MAX_URL_BYTES} bytes"));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the URL holds spaces or control characters".to_owned());
    }
    let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("the URL has no scheme: {words} expected"))?;
    let known = expected.schemes.iter().find(|(known, _)| *known == scheme);
    let (_, default_port) = known.ok_or_else(|| format!("“{scheme}://” cannot be used here: {words} expected"))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(format!("the URL holds a user name: {}", expected.no_user));
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or("the URL's IPv6 address has no closing bracket")?;
            (host, after.strip_prefix(':'))
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        None => *default_port,
        Some(text) => text.parse().map_err(|_| format!("“{text}” in the URL is not a port"))?,
    };
    let well_formed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(well_formed) {
        return Err(format!("“{host}” in the URL is not a host name"));
    }
    Ok(Target { host: host.to_owned(), port })
}
