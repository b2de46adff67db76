//! The text form of a set of links, as the property `links` takes it.

use std::net::{SocketAddr, ToSocketAddrs};

use strata_link::LinkConfig;

/// A text that is not a set of links.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseLinksError {
    /// Not of the form `[ID=]HOST:PORT[@INTERFACE]`.
    #[error("link “{0}”: write HOST:PORT, HOST:PORT@INTERFACE or ID=HOST:PORT@INTERFACE, separated by commas")]
    Form(String),
    /// The id is not a number from 0 to 15, or there are more than 16 links.
    #[error("link “{0}”: its number must be 0 to 15")]
    Id(String),
    /// The same id twice.
    #[error("link “{0}”: its number {1} is taken by another link")]
    Twice(String, u8),
    /// The host has no address.
    #[error("link “{0}”: the host was not found ({1}); check its name, or give an address")]
    Host(String, String),
}

/// Reads `[ID=]HOST:PORT[@INTERFACE]`, separated by commas; a link without an ID gets its position, from 0.
///
/// # Errors
/// [`ParseLinksError`] names the link and says what is expected.
pub fn parse_links(text: &str) -> Result<Vec<LinkConfig>, ParseLinksError> {
    let mut links: Vec<LinkConfig> = Vec::new();
    for (position, part) in text.split(',').map(str::trim).filter(|part| !part.is_empty()).enumerate() {
        let link = parse_link(part, position)?;
        if links.iter().any(|other| other.id == link.id) {
            return Err(ParseLinksError::Twice(part.to_owned(), link.id));
        }
        links.push(link);
    }
    Ok(links)
}

fn parse_link(part: &str, position: usize) -> Result<LinkConfig, ParseLinksError> {
    let (id, rest) = match part.split_once('=') {
        Some((id, rest)) => (id.trim().parse().ok(), rest.trim()),
        None => (u8::try_from(position).ok(), part),
    };
    let id = id.filter(|id| *id < 16).ok_or_else(|| ParseLinksError::Id(part.to_owned()))?;
    let (address, interface) = match rest.split_once('@') {
        Some((address, interface)) if !interface.is_empty() => (address, Some(interface.to_owned())),
        Some(_) => return Err(ParseLinksError::Form(part.to_owned())),
        None => (rest, None),
    };
    let remote = resolve(part, address)?;
    let name = interface.clone().unwrap_or_else(|| format!("link {id}"));
    Ok(LinkConfig { id, name, remote, interface })
}

fn resolve(part: &str, address: &str) -> Result<SocketAddr, ParseLinksError> {
    let port_is_number = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !port_is_number {
        return Err(ParseLinksError::Form(part.to_owned()));
    }
    match address.to_socket_addrs() {
        Ok(mut addresses) => {
            addresses.next().ok_or_else(|| ParseLinksError::Host(part.to_owned(), "no address".to_owned()))
        }
        Err(error) => Err(ParseLinksError::Host(part.to_owned(), error.to_string())),
    }
}

/// The text that [`parse_links`] reads back.
pub(crate) fn format_links(links: &[LinkConfig]) -> String {
    let texts: Vec<String> = links
        .iter()
        .map(|link| match &link.interface {
            Some(interface) => format!("{}={}@{interface}", link.id, link.remote),
            None => format!("{}={}", link.id, link.remote),
        })
        .collect();
    texts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_interfaces_and_ids_are_read() {
        let links = parse_links("127.0.0.1:5000, 5=[::1]:6000@lo").unwrap();
        assert_eq!((links[0].id, links[0].remote.port(), links[0].interface.as_deref()), (0, 5000, None));
        assert_eq!((links[1].id, links[1].remote.port(), links[1].interface.as_deref()), (5, 6000, Some("lo")));
        assert_eq!(parse_links(&format_links(&links)).unwrap().len(), 2);
        assert_eq!(parse_links(" ").unwrap(), vec![]);
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, part) in [
            ("127.0.0.1", "HOST:PORT"),
            ("127.0.0.1:5000@", "HOST:PORT"),
            ("16=127.0.0.1:5000", "0 to 15"),
            ("1=127.0.0.1:1,1=127.0.0.1:2", "taken"),
            ("no-such-host.invalid:5000", "not found"),
        ] {
            let message = parse_links(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
