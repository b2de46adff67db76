//! Destinations, and the guard that keeps them from reaching into the relay's own network.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::ExposeSecret;
use strata_control::{OwnerId, Sensitive};
use strata_relay_db::{ChosenDestination, DestinationId, DestinationRecord, DestinationValues, KeyChange, Role};
use strata_worker_protocol::ForwardDestination;

use crate::inner::{Inner, checked_text, require};
use crate::url::{Expected, Target, parse_url};
use crate::{Actor, DestinationInput, DestinationView, Fleet, FleetError, FleetEvent};

/// What a stream can be forwarded to.
const RTMP: Expected = Expected {
    schemes: &[("rtmp", 1935), ("rtmps", 443)],
    words: "rtmp:// or rtmps://",
    no_user: "put the stream key into its own field",
};
/// The longest stream key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// The most destinations of one stream.
const MAX_PER_STREAM: usize = 16;
/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(3);

impl Fleet {
    /// All destinations of the actor's owner, by name.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn destinations(&self, actor: &Actor) -> Result<Vec<DestinationView>, FleetError> {
        let records = self.inner.db.destinations(actor.owner_id).await?;
        Ok(records.into_iter().map(view).collect())
    }

    /// One destination.
    ///
    /// # Errors
    /// [`FleetError::NotFound`], or the storage failed.
    pub async fn destination(&self, actor: &Actor, id: DestinationId) -> Result<DestinationView, FleetError> {
        let record = self.inner.db.destination(actor.owner_id, id).await?;
        record.map(view).ok_or(NO_DESTINATION)
    }

    /// Adds a destination. For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::Invalid`], or the storage failed.
    pub async fn create_destination(
        &self,
        actor: &Actor,
        input: DestinationInput,
    ) -> Result<DestinationId, FleetError> {
        require(actor, Role::Operator)?;
        let values = self.inner.checked_destination(DestinationId::generate(), input).await?;
        let entry = Inner::audit(actor, "destination.create", values.name.clone(), values.url.clone());
        self.inner.db.add_destination(&values, &entry).await?;
        self.inner.events.tell(actor.owner_id, FleetEvent::DestinationsChanged);
        Ok(values.id)
    }

    /// Changes a destination; live streams keep the old values until they are given their destinations again.
    /// For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], [`FleetError::Invalid`], or the storage failed.
    pub async fn update_destination(
        &self,
        actor: &Actor,
        id: DestinationId,
        input: DestinationInput,
    ) -> Result<(), FleetError> {
        require(actor, Role::Operator)?;
        // First whether there is one: another owner's must not answer with what is wrong with the values.
        self.destination(actor, id).await?;
        let values = self.inner.checked_destination(id, input).await?;
        let key = match values.key {
            KeyChange::Keep => "key kept",
            KeyChange::Remove => "key removed",
            KeyChange::Set(_) => "key replaced",
        };
        let detail = format!("{}, {key}", values.url);
        let entry = Inner::audit(actor, "destination.update", values.name.clone(), detail);
        if !self.inner.db.change_destination(&values, &entry).await? {
            return Err(NO_DESTINATION);
        }
        self.inner.events.tell(actor.owner_id, FleetEvent::DestinationsChanged);
        Ok(())
    }

    /// Deletes a destination. For operators.
    ///
    /// # Errors
    /// [`FleetError::Forbidden`], [`FleetError::NotFound`], or the storage failed.
    pub async fn delete_destination(&self, actor: &Actor, id: DestinationId) -> Result<(), FleetError> {
        require(actor, Role::Operator)?;
        let name = self.destination(actor, id).await?.name;
        let entry = Inner::audit(actor, "destination.delete", name, String::new());
        if !self.inner.db.delete_destination(id, &entry).await? {
            return Err(NO_DESTINATION);
        }
        self.inner.events.tell(actor.owner_id, FleetEvent::DestinationsChanged);
        Ok(())
    }
}

const NO_DESTINATION: FleetError = FleetError::NotFound { what: "destination" };

fn view(record: DestinationRecord) -> DestinationView {
    DestinationView {
        id: record.id,
        name: record.name,
        url: record.url,
        has_key: record.has_key,
        created_at: record.created_at,
        updated_at: record.updated_at,
    }
}

impl Inner {
    async fn checked_destination(
        &self,
        id: DestinationId,
        input: DestinationInput,
    ) -> Result<DestinationValues, FleetError> {
        let name = checked_text("destination's name", &input.name, 100)?;
        let key = match input.key {
            None => KeyChange::Keep,
            Some(key) if key.expose_secret().trim().is_empty() => KeyChange::Remove,
            Some(key) if key.expose_secret().len() > MAX_KEY_BYTES => {
                let message = format!("the stream key is longer than {MAX_KEY_BYTES} bytes");
                return Err(FleetError::Invalid { message });
            }
            Some(key) if key.expose_secret().chars().any(|c| c.is_control() || c.is_whitespace()) => {
                return Err(FleetError::Invalid {
                    message: "the stream key holds spaces or control characters".into(),
                });
            }
            Some(key) => KeyChange::Set(key.expose_secret().trim().to_owned().into()),
        };
        let url = input.url.trim().to_owned();
        self.check_url(&url).await?;
        Ok(DestinationValues { id, name, url, key })
    }

    /// Refuses what is not RTMP, and what leads into the relay's own network.
    async fn check_url(&self, url: &str) -> Result<(), FleetError> {
        let target = parse_url(url, &RTMP).map_err(|message| FleetError::Invalid { message })?;
        if self.config.allow_private_destinations {
            return Ok(());
        }
        let addresses: Vec<IpAddr> = match target.host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => resolve(&target).await,
        };
        match addresses.iter().find(|address| !is_public(**address)) {
            None => Ok(()),
            Some(address) => Err(FleetError::Invalid {
                message: format!(
                    "{} leads to {address}, which is not a public address: \
                     set allow_private_destinations in the relay's configuration if that is meant",
                    target.host
                ),
            }),
        }
    }

    /// What was chosen for a stream, with names; each has to be the owner's and to lead where it may.
    pub(crate) async fn choose_destinations(
        &self,
        owner: OwnerId,
        ids: &[DestinationId],
    ) -> Result<Vec<ChosenDestination>, FleetError> {
        if ids.len() > MAX_PER_STREAM {
            let message = format!("{} destinations: at most {MAX_PER_STREAM} expected", ids.len());
            return Err(FleetError::Invalid { message });
        }
        let mut chosen: Vec<ChosenDestination> = Vec::with_capacity(ids.len());
        for id in ids {
            if chosen.iter().any(|known| known.id == *id) {
                continue;
            }
            let record = self.db.destination(owner, *id).await?.ok_or(NO_DESTINATION)?;
            // Again, as a name may lead elsewhere since it was stored.
            self.check_url(&record.url).await?;
            chosen.push(ChosenDestination { id: *id, name: record.name });
        }
        Ok(chosen)
    }

    /// The destinations with their keys, for the worker; those that were deleted since are left out.
    pub(crate) async fn open_destinations(
        &self,
        owner: OwnerId,
        chosen: &[ChosenDestination],
    ) -> Result<Vec<ForwardDestination>, FleetError> {
        let mut open = Vec::with_capacity(chosen.len());
        for destination in chosen {
            if let Some(found) = self.db.open_destination(owner, destination.id).await? {
                let key = found.key.map(|key| Sensitive::new(key.expose_secret()));
                open.push(ForwardDestination { id: found.id.to_string(), url: found.url, key });
            }
        }
        Ok(open)
    }
}

/// Addresses of a name; none when it does not resolve now: the worker will say so.
async fn resolve(target: &Target) -> Vec<IpAddr> {
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

/// Whether an address is somewhere on the internet, and not this machine, its network or a special range (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let benchmark = a == 198 && (b == 18 || b == 19);
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_documentation()
                || shared
                || benchmark
                || a == 0
                || a >= 240)
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_public(IpAddr::V4(v4)),
            None => {
                let first = v6.segments()[0];
                // Global unicast is 2000::/3; of it, 2002::/16 (6to4) and 2001::/32 (Teredo) wrap IPv4 addresses.
                (first & 0xe000) == 0x2000 && first != 0x2002 && !(first == 0x2001 && v6.segments()[1] < 0x0200)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rtmp_urls_without_user_names_are_read() {
        let parse_url = |url| parse_url(url, &RTMP);
        let target = |host: &str, port| Ok(Target { host: host.to_owned(), port });
        assert_eq!(parse_url("rtmp://a.example/live"), target("a.example", 1935));
        assert_eq!(parse_url("rtmps://a.example/live"), target("a.example", 443));
        assert_eq!(parse_url("rtmp://[2001:db8::1]:1936/live"), target("2001:db8::1", 1936));
        for url in [
            "http://a.example/",
            "file:///etc/passwd",
            "a.example/live",
            "rtmp://",
            "rtmp://me:key@a.example/live",
            "rtmp://a.example:99999/",
            "rtmp://a b/",
            "rtmp://a.example\n/",
            "rtmp://[::1/",
            "rtmp://a;b/",
        ] {
            assert!(parse_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn addresses_that_lead_inside_are_not_public() {
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "2002:7f00:1::",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "142.250.1.1", "2606:4700::1111"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
