//! The link in the QR code of an enrolment token: it opens the device's own page with relay and token filled in.
//!
//! A phone on the device's own network follows it; the device's camera reads it. The address is the device's in that
//! network, and so the same for all.

use crate::Sensitive;

/// Where a device's pages are in its own network, and which of them takes a token.
const PAGE: &str = "http://10.42.0.1/relay";
/// More is no such link: the text of a large QR code (ISO/IEC 18004: version 40-L holds 2,953 bytes).
const MAX_BYTES: usize = 2_953;

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

    /// Reads a text; none if it is another one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let query = text.trim().strip_prefix(PAGE)?.strip_prefix('?').filter(|query| query.len() <= MAX_BYTES)?;
        let value = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
                .filter(|value| !value.is_empty())
        };
        Some(Self { relay: value("relay")?, token: Sensitive::new(value("enrolment")?) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(relay in ".{1,80}", token in ".{1,80}") {
            let link = EnrolmentLink { relay, token: Sensitive::new(token) };
            prop_assert_eq!(EnrolmentLink::read(&link.text()), Some(link));
        }

        #[test]
        fn no_text_is_too_much(query in "[relayenoimt=&%+0-9A-F?]{0,60}") {
            let _read = EnrolmentLink::read(&format!("{PAGE}?{query}"));
        }
    }

    #[test]
    fn what_means_something_in_a_link_is_escaped() {
        let link = EnrolmentLink { relay: "wss://a.example".into(), token: Sensitive::new("x") };
        assert_eq!(link.text(), "http://10.42.0.1/relay?relay=wss%3A%2F%2Fa.example&enrolment=x");
    }

    #[test]
    fn other_texts_are_none() {
        for text in [
            "",
            "abc-123",
            "http://10.42.0.1/relay",
            "http://10.42.0.1/relay?relay=&enrolment=x",
            "http://10.42.0.1/relay?relay=a.example",
            "http://10.42.0.1/relays?relay=a&enrolment=x",
            "https://a.example/relay?relay=a&enrolment=x",
            "WIFI:S:a;;",
        ] {
            assert_eq!(EnrolmentLink::read(text), None, "{text}");
        }
        assert_eq!(EnrolmentLink::read(&format!("{PAGE}?relay=a&enrolment={}", "x".repeat(3_000))), None);
    }
}
