//! The portal's HTTP server: one address, few connections, small bodies.
//!
//! Owns listening, limits, security headers and which page answers which request.
//! Does not own what a page looks like, nor what the device does.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use strata_network::modem_manager::is_apn;
use strata_network::wifi::{Address, Credentials, Secret, Security, Ssid, Wish};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time;

use crate::device::{Device, Progress, Snapshot};
use crate::gate::{self, Limiter, MAX_BODY, Pace, Purpose, Tokens, Verdict};
use crate::language::Language;
use crate::pages::{self, View};
use crate::probes;
use crate::texts::Texts;

/// Connections at a time: phones open half a dozen each.
const CONNECTIONS: usize = 64;
/// A request's headers have to be there within this, and its body.
const READ: Duration = Duration::from_secs(10);
/// Nobody keeps a connection for longer.
const CONNECTION: Duration = Duration::from_secs(60);
/// What people do is posted.
const POSTS: Pace = Pace { burst: 10, every: Duration::from_secs(6) };
/// What phones ask by themselves.
const GETS: Pace = Pace { burst: 120, every: Duration::from_millis(100) };
/// The cookie of whoever gave the passphrase.
const SESSION: &str = "strata=";
/// RFC 8908: the portal's state for whoever learned of it by DHCP option 114.
const CAPTIVE_API: &str = "/captive-portal/api";

/// The portal.
#[derive(Debug)]
pub struct Portal {
    device: Arc<dyn Device>,
    own: IpAddr,
    tokens: Tokens,
    started: Instant,
    limits: Mutex<[Limiter; 2]>,
}

type Answer = Response<Full<Bytes>>;

impl Portal {
    /// A portal at this address; `key` is random, for the tokens of forms.
    #[must_use]
    pub fn new(device: Arc<dyn Device>, own: IpAddr, key: [u8; 32]) -> Self {
        let limits = Mutex::new([Limiter::new(GETS), Limiter::new(POSTS)]);
        Self { device, own, tokens: Tokens::new(key), started: Instant::now(), limits }
    }

    /// Answers on this listener, until it is dropped.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, for instance: not in a circle.
                    tracing::warn!("a connection to the portal was not accepted: {error}");
                    time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let portal = Arc::clone(&self);
            tokio::spawn(async move {
                portal.connection(stream, peer).await;
                drop(permit);
            });
        }
    }

    async fn connection(self: Arc<Self>, stream: tokio::net::TcpStream, peer: SocketAddr) {
        let service = service_fn(|request| {
            let portal = Arc::clone(&self);
            async move { Ok::<_, Infallible>(portal.answer(request, peer.ip()).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        match time::timeout(CONNECTION, connection).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => tracing::debug!("a connection to the portal ended: {error}"),
        }
    }

    async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Answer {
        let posts = request.method() == Method::POST;
        let now = self.started.elapsed();
        let allowed = self.limits.lock().is_ok_and(|mut limits| limits[usize::from(posts)].allow(client, now));
        if !allowed {
            return plain(StatusCode::TOO_MANY_REQUESTS);
        }
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let said = gate::Request {
            method: request.method().as_str(),
            host: request.uri().authority().map(|name| name.as_str()).or_else(|| text(header::HOST)),
            origin: text(header::ORIGIN),
            content_type: text(header::CONTENT_TYPE),
            content_length: text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
        };
        match gate::judge(&said, self.own) {
            Verdict::Refuse(status) => plain(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST)),
            Verdict::Elsewhere => self.elsewhere(said.host.unwrap_or_default(), request.uri().path()).await,
            Verdict::Pass if posts => self.post(request, client).await,
            Verdict::Pass => self.get(&request, client).await,
        }
    }

    /// Whoever asks for another name is shown the portal, or hears what that name would say once all is well.
    async fn elsewhere(&self, host: &str, path: &str) -> Answer {
        let done = is_done(&self.device.snapshot().await);
        let Some(answer) = probes::online_answer(host, path).filter(|_| done) else {
            return self.redirect(StatusCode::FOUND, "/");
        };
        let mut response = Response::new(Full::from(answer.body));
        *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        if let Some(kind) = answer.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some((name, value)) = answer.header {
            let name = header::HeaderName::from_bytes(name.as_bytes()).expect("the table's names are names");
            headers.insert(name, HeaderValue::from_static(value));
        }
        no_store(headers);
        response
    }

    async fn view(&self, headers: &HeaderMap, client: IpAddr) -> View {
        let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let language = Language::accepted(accepted.unwrap_or_default());
        let form_token = self.tokens.make(Purpose::Form, client, self.started.elapsed());
        View::new(language, self.device.snapshot().await, form_token)
    }

    /// Whether this client may see and change more than strangers: everybody, until the device belongs to somebody.
    fn may(&self, view: &View, headers: &HeaderMap, client: IpAddr) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut sessions = cookies.flat_map(|text| text.split("; ")).filter_map(|cookie| cookie.strip_prefix(SESSION));
        let known = |token: &str| self.tokens.knows(Purpose::Session, token, client, self.started.elapsed());
        !view.snapshot.enrolled || sessions.any(known)
    }

    fn login(&self, mut view: View, form: &Form, client: IpAddr) -> Answer {
        let typed = form.get("passphrase").unwrap_or_default().trim();
        let passphrase = self.device.passphrase();
        if !bool::from(typed.as_bytes().ct_eq(passphrase.reveal().as_bytes())) {
            view.trouble = Some(view.texts().log_in_wrong.to_owned());
            return html(StatusCode::FORBIDDEN, pages::login(&view));
        }
        let token = self.tokens.make(Purpose::Session, client, self.started.elapsed());
        let mut answer = self.redirect(StatusCode::SEE_OTHER, "/");
        let cookie = HeaderValue::from_str(&format!("{SESSION}{token}; HttpOnly; SameSite=Strict; Path=/"));
        answer.headers_mut().insert(header::SET_COOKIE, cookie.expect("a token is plain"));
        answer
    }

    async fn get(&self, request: &Request<Incoming>, client: IpAddr) -> Answer {
        let view = self.view(request.headers(), client).await;
        let query = Form::read(request.uri().query().unwrap_or_default().as_bytes());
        let page = match request.uri().path() {
            CAPTIVE_API => return self.captive_state(&view.snapshot),
            "/" if is_done(&view.snapshot) => pages::online(&view),
            _ if !self.may(&view, request.headers(), client) => pages::login(&view),
            "/" => pages::start(view),
            "/wifi" => pages::wifi(&view),
            "/wifi/join" => pages::join(&view, query.get("name").and_then(pages::from_hex).as_ref()),
            // Also where a QR code of the relay's page leads, with both filled in.
            "/relay" => pages::relay(&view, query.get("relay"), query.get("enrolment").unwrap_or_default()),
            "/modems" => pages::modems(view),
            _ => return plain(StatusCode::NOT_FOUND),
        };
        html(StatusCode::OK, page)
    }

    fn captive_state(&self, snapshot: &Snapshot) -> Answer {
        let captive = !is_done(snapshot);
        let body = format!("{{\"captive\":{captive},\"user-portal-url\":\"http://{}/\"}}", self.own);
        let mut response = Response::new(Full::from(body));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/captive+json"));
        no_store(headers);
        response
    }

    async fn post(&self, request: Request<Incoming>, client: IpAddr) -> Answer {
        let (parts, body) = request.into_parts();
        let limited = Limited::new(body, usize::try_from(MAX_BODY).unwrap_or(usize::MAX)).collect();
        let Ok(Ok(body)) = time::timeout(READ, limited).await else { return plain(StatusCode::BAD_REQUEST) };
        let form = Form::read(&body.to_bytes());
        let mut view = self.view(&parts.headers, client).await;
        let t = view.texts();
        if !self.tokens.knows(Purpose::Form, form.get("token").unwrap_or_default(), client, self.started.elapsed()) {
            view.trouble = Some(t.form_too_old.to_owned());
            let page = if self.may(&view, &parts.headers, client) { pages::start(view) } else { pages::login(&view) };
            return html(StatusCode::FORBIDDEN, page);
        }
        match parts.uri.path() {
            "/login" => self.login(view, &form, client),
            _ if !self.may(&view, &parts.headers, client) => html(StatusCode::FORBIDDEN, pages::login(&view)),
            "/wifi/scan" => {
                self.device.scan().await;
                self.redirect(StatusCode::SEE_OTHER, "/wifi")
            }
            "/wifi/join" => self.join(view, &form).await,
            "/relay" => self.enrol(view, &form).await,
            path => match modem_action(path) {
                Some((modem, action @ ("pin" | "apn"))) => self.modem(view, &form, modem, action).await,
                _ => plain(StatusCode::NOT_FOUND),
            },
        }
    }

    async fn modem(&self, mut view: View, form: &Form, modem: u32, action: &str) -> Answer {
        let t = view.texts();
        let typed = form.get(action).unwrap_or_default().trim();
        // What no SIM would take is not tried: each attempt counts.
        if action == "pin" && (4..=8).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_digit()) {
            self.device.enter_pin(modem, typed.to_owned()).await;
        } else if action == "apn" && is_apn(typed) {
            self.device.set_apn(modem, typed.to_owned()).await;
        } else {
            view.trouble = Some(if action == "pin" { t.no_pin } else { t.not_an_apn }.to_owned());
            return html(StatusCode::UNPROCESSABLE_ENTITY, pages::modems(view));
        }
        self.redirect(StatusCode::SEE_OTHER, "/modems")
    }

    async fn join(&self, mut view: View, form: &Form) -> Answer {
        let t = view.texts();
        let heard = form.get("name").and_then(pages::from_hex);
        let typed = form.get("text").and_then(|text| Ssid::new(text.as_bytes()));
        let Some(ssid) = heard.clone().or(typed) else {
            view.trouble = Some(t.wrong_name.to_owned());
            return html(StatusCode::UNPROCESSABLE_ENTITY, pages::join(&view, None));
        };
        let checked = wish(&view.snapshot, ssid, heard.is_none(), form)
            .ok_or(t.address_wrong)
            .and_then(|wish| refusal(&wish, t).map_or(Ok(wish), Err));
        match checked {
            Ok(wish) => {
                self.device.join(wish).await;
                self.redirect(StatusCode::SEE_OTHER, "/")
            }
            Err(trouble) => {
                view.trouble = Some(trouble.to_owned());
                html(StatusCode::UNPROCESSABLE_ENTITY, pages::join(&view, heard.as_ref()))
            }
        }
    }

    async fn enrol(&self, mut view: View, form: &Form) -> Answer {
        let token = form.get("enrolment").unwrap_or_default().trim().to_owned();
        let relay = form.get("relay").map(str::trim).filter(|relay| !relay.is_empty());
        let Err(failure) = self.device.enrol(token.clone(), relay.map(str::to_owned)).await else {
            return self.redirect(StatusCode::SEE_OTHER, "/");
        };
        view.trouble = Some(failure.text(view.texts()).to_owned());
        html(StatusCode::UNPROCESSABLE_ENTITY, pages::relay(&view, relay, &token))
    }

    fn redirect(&self, status: StatusCode, path: &str) -> Answer {
        let mut response = plain(status);
        let to = HeaderValue::from_str(&format!("http://{}{path}", self.own)).expect("an address and a path are plain");
        response.headers_mut().insert(header::LOCATION, to);
        response
    }
}

/// Nothing more is to be done here.
fn is_done(snapshot: &Snapshot) -> bool {
    snapshot.at_relay && snapshot.enrolment != Progress::Going
}

fn modem_action(path: &str) -> Option<(u32, &str)> {
    let (modem, action) = path.strip_prefix("/modems/")?.split_once('/')?;
    Some((modem.parse().ok()?, action))
}

/// What a network is to be asked for; none of an address that is none.
fn wish(snapshot: &Snapshot, ssid: Ssid, hidden: bool, form: &Form) -> Option<Wish> {
    let heard = snapshot.networks.iter().find(|network| network.ssid == ssid);
    let secret = |name| form.get(name).filter(|text| !text.is_empty()).map(|text| Secret::new(text.to_owned()));
    let credentials = match (form.get("user").filter(|user| !user.is_empty()), secret("passphrase")) {
        (Some(user), password) => Credentials::Login {
            user: user.to_owned(),
            password: password.unwrap_or_else(|| Secret::new(String::new())),
        },
        (None, Some(passphrase)) => Credentials::Passphrase(passphrase),
        (None, None) => Credentials::None,
    };
    let guess = if credentials == Credentials::None { Security::Open } else { Security::Personal };
    let security = heard.map_or(guess, |network| network.security);
    Some(Wish { ssid, hidden, security, credentials, address: address(form)? })
}

/// The address that a form gives; none if that is none.
fn address(form: &Form) -> Option<Address> {
    let field = |name| form.get(name).map(str::trim).filter(|text| !text.is_empty());
    let Some(own) = field("address") else {
        // A router alone is half an address.
        return (field("gateway").is_none() && field("dns").is_none()).then_some(Address::Automatic);
    };
    let (address, prefix) = own.split_once('/')?;
    let gateway = field("gateway")?.parse().ok()?;
    let dns = field("dns").map_or(Some(gateway), |server| server.parse().ok())?;
    Some(Address::Static { address: address.parse().ok()?, prefix: prefix.parse().ok()?, gateway, dns: vec![dns] })
}

/// What is wrong with a wish, before it is tried.
fn refusal(wish: &Wish, t: &Texts) -> Option<&'static str> {
    use strata_network::wifi::WishError;
    match wish.profile().err()? {
        WishError::PassphraseLength | WishError::Credentials => Some(t.wrong_passphrase_length),
        WishError::Security => Some(t.unsupported),
        WishError::Address => Some(t.address_wrong),
    }
}

/// What a form, or an address, carries.
#[derive(Debug)]
struct Form(Vec<(String, String)>);

impl Form {
    fn read(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).take(32).map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }
}

fn no_store(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

fn plain(status: StatusCode) -> Answer {
    let body = if status.is_redirection() { String::new() } else { format!("{status}\n") };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    no_store(headers);
    response
}

fn html(status: StatusCode, page: askama::Result<String>) -> Answer {
    let page = match page {
        Ok(page) => page,
        Err(error) => {
            tracing::error!("a page could not be made: {error}");
            return plain(StatusCode::INTERNAL_SERVER_ERROR);
        }
    };
    let mut response = Response::new(Full::from(page));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Not "no-referrer": with it browsers hide the origin of our own forms, too.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    no_store(headers);
    response
}
