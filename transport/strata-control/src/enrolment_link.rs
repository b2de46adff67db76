//! The link in the QR code of an enrolment token: it opens the device's own page with relay and token filled in.
//!
//! A phone on the device's own network follows it. The address is the device's in that
//! network, and so the same for all.

use crate::Sensitive;

/// Where a device's pages are in its own network, and which of them takes a token.
const PAGE: &str = "http://10.42.0.1/relay";
/// Where a device is to belong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnrolmentLink {
    /// The relay's address, as a person would type it.
    pub relay: String,
    /// The token.
    pub token: Sensitive,
}

impl EnrolmentLink {
    /// The link.
    #[must_use]
    pub fn text(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("relay", &self.relay).append_pair("enrolment", self.token.reveal());
        format!("{PAGE}?{}", query.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_link_is_escaped() {
        for (relay, token, text) in [
            ("wss://a.example", "x-1", "http://10.42.0.1/relay?relay=wss%3A%2F%2Fa.example&enrolment=x-1"),
            ("a:8443", "a&b=c+d %e", "http://10.42.0.1/relay?relay=a%3A8443&enrolment=a%26b%3Dc%2Bd+%25e"),
        ] {
            assert_eq!(EnrolmentLink { relay: relay.to_owned(), token: Sensitive::new(token) }.text(), text);
        }
    }
}
