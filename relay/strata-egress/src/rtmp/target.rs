//! Where an RTMP output goes: its address, with a key that is never shown.

use std::fmt;

use strata_control::Sensitive;
use strata_worker_protocol::ForwardDestination;

/// A destination that cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Another protocol.
    #[error("“{0}” is not an RTMP address: rtmp://HOST/APP or rtmps://HOST/APP expected")]
    Scheme(String),
    /// No host, no application or no stream.
    #[error("“{0}” has no host, application or stream key: rtmp://HOST/APP and a stream key expected")]
    Path(String),
}

/// An RTMP address with its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    location: Sensitive,
    /// The part to keep out of messages.
    secret: Option<Sensitive>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target(…)")
    }
}

impl Target {
    /// Reads a destination.
    ///
    /// # Errors
    /// [`TargetError`]; it quotes the URL, never the key.
    pub fn new(destination: &ForwardDestination) -> Result<Self, TargetError> {
        let url = destination.url.trim().trim_end_matches('/');
        let rest = ["rtmp://", "rtmps://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .ok_or_else(|| TargetError::Scheme(destination.url.clone()))?;
        let key = destination.key.as_ref().map(|key| key.reveal().trim()).filter(|key| !key.is_empty());
        let location = key.map_or_else(|| url.to_owned(), |key| format!("{url}/{key}"));
        let parts = rest.split('/').filter(|part| !part.is_empty()).count() + usize::from(key.is_some());
        if parts < 3 || rest.starts_with('/') {
            return Err(TargetError::Path(destination.url.clone()));
        }
        Ok(Self { location: Sensitive::new(location), secret: key.map(Sensitive::new) })
    }

    /// The whole address, key included: for the sink alone.
    pub(crate) fn location(&self) -> &str {
        self.location.reveal()
    }

    /// A message of somebody else's without the key.
    #[must_use]
    pub fn redact(&self, message: &str) -> String {
        let Some(secret) = &self.secret else { return message.to_owned() };
        let secret = secret.reveal();
        // The part before a query is what servers repeat.
        let name = secret.split(['?', '&']).next().filter(|name| !name.is_empty()).unwrap_or(secret);
        message.replace(secret, "•••").replace(name, "•••")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, key: Option<&str>) -> Result<Target, TargetError> {
        Target::new(&ForwardDestination { id: "a".into(), url: url.into(), key: key.map(Sensitive::new) })
    }

    #[test]
    fn the_key_is_appended_and_never_shown() {
        let target = target("rtmp://host:1935/live/", Some("hunter2?auth=x")).unwrap();
        assert_eq!(target.location(), "rtmp://host:1935/live/hunter2?auth=x");
        assert!(!format!("{target:?}").contains("hunter2"));
        assert_eq!(target.redact("no such stream hunter2 (hunter2?auth=x)"), "no such stream ••• (•••)");
    }

    #[test]
    fn addresses_that_cannot_work_are_named() {
        for (url, key) in [("http://host/live", Some("k")), ("rtmp://host", Some("k")), ("rtmp:///live", Some("k"))] {
            assert!(target(url, key).unwrap_err().to_string().contains(url));
        }
        assert!(target("rtmp://host/live", None).is_err());
        assert!(target("rtmps://host/live/key", None).is_ok());
    }
}
