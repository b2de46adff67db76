//! Who may ask what: the checks that come before any page.
//!
//! Pure functions of what a request says. A page of another site must not make
//! the device do anything (Origin, token in each form), a name of another site
//! must not lead to the device's pages (Host), and nobody asks faster than people
//! do.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The most that a form of ours has, in bytes.
pub const MAX_BODY: u64 = 16 * 1024;
/// A token is good in the hour it was made in, and in the next.
const TOKEN_PERIOD: Duration = Duration::from_secs(3600);
/// Bytes of a token, in hexadecimal twice as many characters.
const TOKEN_BYTES: usize = 16;
/// Clients that are remembered; an access point has room for fewer.
const MAX_CLIENTS: usize = 256;

/// What a request says about itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The value of `Host`, or the authority.
    pub host: Option<&'a str>,
    /// The value of `Origin`.
    pub origin: Option<&'a str>,
    /// The value of `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The value of `Content-Length`.
    pub content_length: Option<u64>,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is looked at.
    Pass,
    /// It asks somebody else: the person is shown the device's own address.
    Elsewhere,
    /// It is refused with this status.
    Refuse(u16),
}

/// Judges a request to a portal with this address.
#[must_use]
pub fn judge(request: &Request<'_>, own: IpAddr) -> Verdict {
    let Some(host) = request.host else { return Verdict::Refuse(400) };
    let asks = matches!(request.method, "GET" | "HEAD");
    if !asks && request.method != "POST" {
        return Verdict::Refuse(405);
    }
    let own_host = is_own(host, own);
    if asks {
        return if own_host { Verdict::Pass } else { Verdict::Elsewhere };
    }
    // 421: misdirected.
    if !own_host {
        return Verdict::Refuse(421);
    }
    // Browsers name the origin of every form that is posted; programs that name none are no browsers.
    let foreign =
        request.origin.is_some_and(|origin| origin.strip_prefix("http://").is_none_or(|name| !is_own(name, own)));
    if foreign {
        return Verdict::Refuse(403);
    }
    let kind = request.content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") && !kind.eq_ignore_ascii_case("application/json")
    {
        return Verdict::Refuse(415);
    }
    match request.content_length {
        None => Verdict::Refuse(411),
        Some(length) if length > MAX_BODY => Verdict::Refuse(413),
        Some(_) => Verdict::Pass,
    }
}

/// Whether a name, with or without the port 80, is the portal's address.
fn is_own(name: &str, own: IpAddr) -> bool {
    let name = name.strip_suffix(":80").unwrap_or(name);
    let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.parse() == Ok(own)
}

/// What a token is for; one of another purpose is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A form that this client was shown. No cookie is needed, which mini-browsers may not have.
    Form,
    /// This client gave the passphrase.
    Session,
}

/// Makes and knows tokens; nothing is kept of them.
#[derive(Clone)]
pub struct Tokens {
    key: [u8; 32],
}

impl Tokens {
    /// With a random key.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// A client's token; `now` since any start.
    #[must_use]
    pub fn make(&self, purpose: Purpose, client: IpAddr, now: Duration) -> String {
        self.of_period(purpose, client, now.as_secs() / TOKEN_PERIOD.as_secs())
    }

    /// Whether a token was made for this client, not too long ago.
    #[must_use]
    pub fn knows(&self, purpose: Purpose, token: &str, client: IpAddr, now: Duration) -> bool {
        let period = now.as_secs() / TOKEN_PERIOD.as_secs();
        let is = |period| bool::from(self.of_period(purpose, client, period).as_bytes().ct_eq(token.as_bytes()));
        is(period) || period.checked_sub(1).is_some_and(is)
    }

    fn of_period(&self, purpose: Purpose, client: IpAddr, period: u64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length is taken");
        mac.update(match purpose {
            Purpose::Form => b"form",
            Purpose::Session => b"session",
        });
        mac.update(client.to_string().as_bytes());
        mac.update(&period.to_be_bytes());
        let bytes = mac.finalize().into_bytes();
        bytes.iter().take(TOKEN_BYTES).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tokens")
    }
}

/// How often something may happen.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// At once.
    pub burst: u32,
    /// And then one in so long.
    pub every: Duration,
}

/// Counts what each client does: a bucket for each, which fills again with time.
#[derive(Debug)]
pub struct Limiter {
    pace: Pace,
    /// When the bucket of a client is full again.
    full_at: HashMap<IpAddr, Duration>,
}

impl Limiter {
    /// With an equal pace for each client.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self { pace, full_at: HashMap::new() }
    }

    /// Whether a client may do it once more now; if so, it counts.
    pub fn allow(&mut self, client: IpAddr, now: Duration) -> bool {
        if self.full_at.len() >= MAX_CLIENTS && !self.full_at.contains_key(&client) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= MAX_CLIENTS {
                return false;
            }
        }
        let full_at = self.full_at.entry(client).or_insert(now);
        let next = (*full_at).max(now) + self.pace.every;
        let allowed = next - now <= self.pace.every * self.pace.burst;
        if allowed {
            *full_at = next;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 42, 0, 1));
    const PHONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 42, 0, 77));

    fn form<'a>() -> Request<'a> {
        Request {
            method: "POST",
            host: Some("10.42.0.1"),
            origin: Some("http://10.42.0.1"),
            content_type: Some("application/x-www-form-urlencoded"),
            content_length: Some(100),
        }
    }

    #[test]
    fn what_becomes_of_a_request() {
        use Verdict::{Elsewhere, Pass, Refuse};
        let get = |host| Request { method: "GET", host: Some(host), ..Request::default() };
        let table = [
            (get("10.42.0.1"), Pass),
            (get("10.42.0.1:80"), Pass),
            (get("10.42.0.1:8080"), Elsewhere),
            (get("captive.apple.com"), Elsewhere),
            (get("10.42.0.1.evil.example"), Elsewhere),
            (Request { method: "HEAD", ..get("example.com") }, Elsewhere),
            (Request { host: None, ..get("") }, Refuse(400)),
            (Request { method: "PUT", ..form() }, Refuse(405)),
            (Request { method: "CONNECT", ..form() }, Refuse(405)),
            (form(), Pass),
            (Request { origin: None, ..form() }, Pass),
            (Request { content_type: Some("application/json; charset=utf-8"), ..form() }, Pass),
            (Request { host: Some("evil.example"), ..form() }, Refuse(421)),
            (Request { origin: Some("http://evil.example"), ..form() }, Refuse(403)),
            (Request { origin: Some("https://10.42.0.1"), ..form() }, Refuse(403)),
            (Request { origin: Some("null"), ..form() }, Refuse(403)),
            (Request { content_type: Some("text/plain"), ..form() }, Refuse(415)),
            (Request { content_type: None, ..form() }, Refuse(415)),
            (Request { content_length: None, ..form() }, Refuse(411)),
            (Request { content_length: Some(MAX_BODY + 1), ..form() }, Refuse(413)),
            (Request { content_length: Some(10_000_000), ..form() }, Refuse(413)),
        ];
        for (request, verdict) in table {
            assert_eq!(judge(&request, OWN), verdict, "{request:?}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_client_for_an_hour_or_two() {
        let tokens = Tokens::new([7; 32]);
        let now = Duration::from_secs(10 * 3600 + 1800);
        let token = tokens.make(Purpose::Form, PHONE, now);
        assert_eq!(token.len(), 2 * TOKEN_BYTES);
        assert!(
            tokens.knows(Purpose::Form, &token, PHONE, now)
                && tokens.knows(Purpose::Form, &token, PHONE, now + TOKEN_PERIOD)
        );
        assert!(!tokens.knows(Purpose::Form, &token, PHONE, now + TOKEN_PERIOD * 2));
        assert!(!tokens.knows(Purpose::Form, &token, OWN, now));
        assert!(!tokens.knows(Purpose::Form, "", PHONE, now) && !tokens.knows(Purpose::Form, &token[1..], PHONE, now));
        assert!(!tokens.knows(Purpose::Session, &token, PHONE, now), "of another purpose");
        assert!(!Tokens::new([8; 32]).knows(Purpose::Form, &token, PHONE, now));
    }

    #[test]
    fn after_a_burst_the_pace_holds_for_each_client_alone() {
        let mut limiter = Limiter::new(Pace { burst: 5, every: Duration::from_secs(6) });
        let at = Duration::from_secs;
        let allowed = (0..20).filter(|_| limiter.allow(PHONE, at(100))).count();
        assert_eq!(allowed, 5);
        assert!(limiter.allow(OWN, at(100)));
        assert!(!limiter.allow(PHONE, at(105)) && limiter.allow(PHONE, at(106)) && !limiter.allow(PHONE, at(106)));
        assert_eq!((0..20).filter(|_| limiter.allow(PHONE, at(1000))).count(), 5);
    }

    #[test]
    fn a_crowd_of_clients_takes_no_memory() {
        let mut limiter = Limiter::new(Pace { burst: 2, every: Duration::from_secs(1) });
        for number in 0..100_000u32 {
            limiter.allow(IpAddr::V4(number.into()), Duration::from_secs(1));
        }
        assert!(limiter.full_at.len() <= MAX_CLIENTS);
        assert!(limiter.allow(PHONE, Duration::from_secs(10)), "who comes later gets in again");
    }
}
