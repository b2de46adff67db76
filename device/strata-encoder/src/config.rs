//! The configuration: one JSON line on standard input.
//!
//! Owns reading and checking it. It holds no secret itself, but names the file
//! that does, and is never taken from the command line.

use std::io::{BufRead, Read};

use strata_control::SettingsError;
use strata_encoder_protocol::{EncoderConfig, EncoderLink, MAX_LINE_BYTES};

/// The most links of one stream; ids are 0 to 15.
const MOST_LINKS: usize = 16;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// Standard input.
    #[error("the configuration cannot be read from standard input")]
    Read(#[source] std::io::Error),
    /// Nothing there.
    #[error("no configuration: one line of JSON expected on standard input")]
    Empty,
    /// Too much.
    #[error("the configuration is longer than {MAX_LINE_BYTES} bytes")]
    TooLong,
    /// Not what was expected.
    #[error("the configuration is not valid")]
    Json(#[source] serde_json::Error),
    /// A setting out of bounds.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Links that contradict each other.
    #[error("links: {0}")]
    Links(String),
}

/// Reads one line and checks it.
pub(crate) fn read(input: impl Read) -> Result<EncoderConfig, ConfigError> {
    let limit = MAX_LINE_BYTES as u64 + 1;
    let mut line = vec![];
    std::io::BufReader::new(input).take(limit).read_until(b'\n', &mut line).map_err(ConfigError::Read)?;
    if line.len() > MAX_LINE_BYTES {
        return Err(ConfigError::TooLong);
    }
    if line.trim_ascii().is_empty() {
        return Err(ConfigError::Empty);
    }
    let config: EncoderConfig = serde_json::from_slice(&line).map_err(ConfigError::Json)?;
    config.settings.validate()?;
    check_links(&config.links)?;
    Ok(config)
}

/// Checks that each link has a number of its own, from 0 to 15.
pub(crate) fn check_links(links: &[EncoderLink]) -> Result<(), ConfigError> {
    for (index, link) in links.iter().enumerate() {
        if usize::from(link.id) >= MOST_LINKS {
            let text = format!("the number {} of {} is not between 0 and {}", link.id, link.interface, MOST_LINKS - 1);
            return Err(ConfigError::Links(text));
        }
        if let Some(other) = links[..index].iter().find(|other| other.id == link.id) {
            let text = format!("{} and {} both have the number {}", other.interface, link.interface, link.id);
            return Err(ConfigError::Links(text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(input: &[u8]) -> String {
        let error = read(input).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = vec![b'x'; MAX_LINE_BYTES + 10];
        for (input, part) in [
            (b"".as_slice(), "one line of JSON"),
            (b"\n", "one line of JSON"),
            (b"{\"stream_id\": 5}\n", "not valid"),
            (b"\xff\xfe\n", "not valid"),
            (b"{\"colour\": 5}\n", "colour"),
            (&long, "longer than"),
        ] {
            assert!(message(input).contains(part), "{}", message(input));
        }
    }

    #[test]
    fn links_need_numbers_of_their_own() {
        let link = |id, interface: &str| EncoderLink {
            id,
            interface: interface.to_owned(),
            bind: false,
            remote: "127.0.0.1:1".parse().unwrap(),
        };
        assert!(check_links(&[link(0, "a"), link(15, "b")]).is_ok());
        assert!(check_links(&[link(0, "a"), link(16, "b")]).unwrap_err().to_string().contains("16 of b"));
        assert!(check_links(&[link(3, "a"), link(3, "b")]).unwrap_err().to_string().contains("a and b"));
    }
}
