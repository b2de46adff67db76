//! The portal as phones, people and attackers meet it: real sockets, a device made up.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use strata_network::wifi::{Address, Credentials, Secret, Security, Ssid, Wish};
use strata_portal::device::{Answer, Device, Failure, Heard, Progress, Snapshot};
use strata_portal::server::Portal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[derive(Debug, Default)]
struct MadeUp {
    snapshot: Mutex<Snapshot>,
    asked: Mutex<Vec<String>>,
}

impl MadeUp {
    fn note(&self, what: String) -> Answer<'_, ()> {
        self.asked.lock().unwrap().push(what);
        Box::pin(async {})
    }
}

impl Device for MadeUp {
    fn passphrase(&self) -> Secret {
        Secret::new("abcd-efgh-jkmn".into())
    }

    fn snapshot(&self) -> Answer<'_, Snapshot> {
        let snapshot = self.snapshot.lock().unwrap().clone();
        Box::pin(async { snapshot })
    }

    fn scan(&self) -> Answer<'_, ()> {
        self.note("scan".into())
    }

    fn join(&self, wish: Wish) -> Answer<'_, ()> {
        let secret = match &wish.credentials {
            Credentials::Passphrase(secret) => secret.reveal().to_owned(),
            other => format!("{other:?}"),
        };
        let address = match &wish.address {
            Address::Automatic => String::new(),
            Address::Static { address, prefix, gateway, dns } => format!(" at {address}/{prefix} {gateway} {dns:?}"),
        };
        self.note(format!("join {} {:?} hidden {} with {secret}{address}", wish.ssid, wish.security, wish.hidden))
    }

    /// A token that begins with "old" has expired.
    fn enrol(&self, token: String, relay: Option<String>) -> Answer<'_, Result<(), Failure>> {
        self.asked.lock().unwrap().push(format!("enrol {token} at {relay:?}"));
        let old = token.starts_with("old");
        Box::pin(async move { if old { Err(Failure::TokenExpired) } else { Ok(()) } })
    }

    fn enter_pin(&self, modem: u32, pin: String) -> Answer<'_, ()> {
        self.note(format!("pin {pin} of {modem}"))
    }

    fn set_apn(&self, modem: u32, apn: String) -> Answer<'_, ()> {
        self.note(format!("apn {apn} of {modem}"))
    }
}

struct Rig {
    device: Arc<MadeUp>,
    address: SocketAddr,
}

impl Rig {
    async fn start() -> Self {
        let device = Arc::new(MadeUp::default());
        device.snapshot.lock().unwrap().networks = vec![Heard {
            ssid: Ssid::new(b"Hotel").unwrap(),
            security: Security::Personal,
            strength: 60,
            known: false,
        }];
        let listener = TcpListener::bind((OWN, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let portal = Arc::new(Portal::new(Arc::<MadeUp>::clone(&device), OWN, [1; 32]));
        tokio::spawn(portal.serve(listener));
        Self { device, address }
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Refused while it is still being sent: what was answered before counts.
        let _closed = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(&self, host: &str, path: &str) -> String {
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await
    }

    async fn post(&self, path: &str, headers: &str, body: &str) -> String {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    async fn token(&self) -> String {
        self.token_of("/wifi").await
    }

    async fn token_of(&self, path: &str) -> String {
        let page = self.get("127.0.0.1", path).await;
        let after = page.split("name=\"token\" value=\"").nth(1).unwrap();
        after.split('"').next().unwrap().to_owned()
    }

    fn asked(&self) -> Vec<String> {
        self.device.asked.lock().unwrap().clone()
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn every_systems_probe_leads_to_the_portal_and_afterwards_to_peace() {
    let rig = Rig::start().await;
    let probes = [
        ("captive.apple.com", "/hotspot-detect.html", 200, "Success"),
        ("connectivitycheck.gstatic.com", "/generate_204", 204, ""),
        ("www.msftconnecttest.com", "/connecttest.txt", 200, "Microsoft Connect Test"),
        ("detectportal.firefox.com", "/success.txt?ipv4", 200, "success\n"),
        ("nmcheck.gnome.org", "/check_network_status.txt", 200, "NetworkManager is online"),
    ];
    for (host, path, ..) in probes {
        let answer = rig.get(host, path).await;
        assert_eq!(status(&answer), 302, "{host}: {answer}");
        assert!(answer.contains("location: http://127.0.0.1/\r\n"), "{answer}");
    }
    assert!(rig.get("127.0.0.1", "/captive-portal/api").await.contains("{\"captive\":true,"));
    {
        let mut snapshot = rig.device.snapshot.lock().unwrap();
        (snapshot.internet, snapshot.at_relay) = (true, true);
    }
    for (host, path, code, body) in probes {
        let answer = rig.get(host, path).await;
        assert_eq!(status(&answer), code, "{host}: {answer}");
        assert!(answer.contains(body), "{host}: {answer}");
    }
    assert!(rig.get("127.0.0.1", "/captive-portal/api").await.contains("{\"captive\":false,"));
}

#[tokio::test]
async fn a_person_joins_a_network_and_enrols() {
    let rig = Rig::start().await;
    let page = rig.get("127.0.0.1", "/wifi/join?name=486f74656c").await;
    assert!(page.contains(">Hotel</b>") && page.contains("content-security-policy: default-src 'none'"), "{page}");
    let token = rig.token().await;
    let short = rig.post("/wifi/join", "", &format!("token={token}&name=486f74656c&passphrase=short")).await;
    assert!(status(&short) == 422 && short.contains("8 to 63 characters"), "{short}");
    for body in ["name=486f74656c&passphrase=correct+horse", "text=Caf%C3%A9&passphrase=correct+horse", "text=Open"] {
        let answer = rig.post("/wifi/join", "", &format!("token={token}&{body}")).await;
        assert_eq!(status(&answer), 303, "{answer}");
    }
    rig.post("/relay", "", &format!("token={token}&relay=wss%3A%2F%2Fr.example&enrolment=+abc+")).await;
    let old = rig.post("/relay", "Accept-Language: fr\r\n", &format!("token={token}&enrolment=old")).await;
    assert!(status(&old) == 422 && old.contains("Ce jeton a expiré."), "{old}");
    assert_eq!(
        rig.asked(),
        [
            "join Hotel Personal hidden false with correct horse",
            "join Café Personal hidden true with correct horse",
            "join Open Open hidden true with None",
            "enrol abc at Some(\"wss://r.example\")",
            "enrol old at None",
        ]
    );
}

#[tokio::test]
async fn the_first_page_points_at_the_step_that_is_next() {
    let rig = Rig::start().await;
    let network = || Some(Ssid::new(b"Hotel").unwrap());
    let refused = Progress::Failed(Failure::TokenExpired);
    for (internet, at_relay, joining, enrolment, next) in [
        (false, false, (None, Progress::Nothing), Progress::Nothing, Some(1)),
        (false, false, (network(), Progress::Failed(Failure::NoInternet)), Progress::Nothing, Some(1)),
        // The network is known to work; the radio has another use now.
        (false, false, (network(), Progress::Done), refused, Some(2)),
        (true, false, (None, Progress::Nothing), Progress::Nothing, Some(2)),
        (true, true, (None, Progress::Nothing), Progress::Done, None),
    ] {
        {
            let mut snapshot = rig.device.snapshot.lock().unwrap();
            (snapshot.internet, snapshot.at_relay) = (internet, at_relay);
            (snapshot.joining, snapshot.enrolment) = (joining, enrolment);
        }
        let page = rig.get("127.0.0.1", "/").await;
        let found = page.split("<li class=\"").skip(1).position(|step| step.starts_with("now\""));
        assert_eq!(found.map(|at| at + 1), next, "{page}");
    }
}

#[tokio::test]
async fn what_no_sim_and_no_operator_would_take_is_not_tried() {
    let rig = Rig::start().await;
    let token = rig.token().await;
    let post =
        async |body: &str| rig.post(&format!("/modems/2/{}", &body[..3]), "", &format!("token={token}&{body}")).await;
    for body in ["pin=1234", "apn=+internet.example+"] {
        assert_eq!(status(&post(body).await), 303, "{body}");
    }
    for (body, told) in [("pin=12x4", "4 to 8 digits"), ("pin=123", "4 to 8 digits"), ("apn=a+b", "letters, digits")] {
        let answer = post(body).await;
        assert!(status(&answer) == 422 && answer.contains(told), "{body}: {answer}");
    }
    assert_eq!(rig.asked(), ["pin 1234 of 2", "apn internet.example of 2"]);
}

#[tokio::test]
async fn pages_of_other_sites_and_old_forms_change_nothing() {
    let rig = Rig::start().await;
    let token = rig.token().await;
    let form = format!("token={token}");
    assert_eq!(status(&rig.post("/wifi/scan", "Origin: http://evil.example\r\n", &form).await), 403);
    assert_eq!(status(&rig.post("/wifi/scan", "Origin: null\r\n", &form).await), 403);
    assert_eq!(status(&rig.post("/wifi/scan", "", "token=0123").await), 403);
    assert_eq!(status(&rig.post("/wifi/scan", "", "").await), 403);
    let forged = format!(
        "POST /wifi/scan HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(status(&rig.raw(&forged).await), 421);
    assert_eq!(rig.asked(), Vec::<String>::new());
    assert_eq!(status(&rig.post("/wifi/scan", "Origin: http://127.0.0.1\r\n", &form).await), 303);
    assert_eq!(rig.asked(), ["scan"]);
}

#[tokio::test]
async fn strange_requests_get_short_answers() {
    let rig = Rig::start().await;
    for (path, code) in
        [("/../../etc/passwd", 404), ("/%2e%2e/etc/passwd", 404), ("//", 404), ("/wifi/join?name=zz", 200)]
    {
        assert_eq!(status(&rig.get("127.0.0.1", path).await), code, "{path}");
    }
    assert_eq!(status(&rig.raw("PUT / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await), 405);
    let large = "POST /relay HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000000\r\n\r\n";
    assert_eq!(status(&rig.raw(&format!("{large}{}", "a".repeat(100_000))).await), 413);
    let endless = format!("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: {}\r\n\r\n", "a".repeat(100_000));
    assert_eq!(status(&rig.raw(&endless).await), 431);
    let flood = futures_util::future::join_all((0..300).map(|_| rig.get("127.0.0.1", "/"))).await;
    let refused = flood.iter().filter(|answer| status(answer) == 429).count();
    assert!(refused > 100, "{refused}");
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_is_let_go() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut answer = Vec::new();
    let begun = tokio::time::Instant::now();
    let _closed = stream.read_to_end(&mut answer).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_fixed_address_is_taken_whole_or_not_at_all() {
    let rig = Rig::start().await;
    let token = rig.token().await;
    let fields = format!("token={token}&name=486f74656c&passphrase=long%20enough");
    for (more, taken) in [
        ("&address=192.168.1.50/24&gateway=192.168.1.1&dns=", Some(" at 192.168.1.50/24 192.168.1.1 [192.168.1.1]")),
        ("&address=10.0.0.9/8&gateway=10.0.0.1&dns=9.9.9.9", Some(" at 10.0.0.9/8 10.0.0.1 [9.9.9.9]")),
        ("&address=&gateway=&dns=", Some("")),
        ("&address=192.168.1.50&gateway=192.168.1.1&dns=", None),
        ("&address=192.168.1.50/24&gateway=10.0.0.1&dns=", None),
        ("&address=192.168.1.50/99&gateway=192.168.1.1&dns=", None),
        ("&address=&gateway=192.168.1.1&dns=", None),
    ] {
        let before = rig.asked().len();
        let answer = rig.post("/wifi/join", "", &format!("{fields}{more}")).await;
        let asked = rig.asked().split_off(before);
        match taken {
            Some(end) => {
                assert_eq!(asked, [format!("join Hotel Personal hidden false with long enough{end}")], "{more}")
            }
            None => assert!(asked.is_empty() && status(&answer) == 422, "{more}: {answer}"),
        }
    }
}

#[tokio::test]
async fn what_belongs_to_somebody_asks_for_the_passphrase_on_its_label() {
    let rig = Rig::start().await;
    rig.device.snapshot.lock().unwrap().enrolled = true;
    for path in ["/", "/wifi", "/relay", "/modems", "/wifi/join?name=486f74656c"] {
        let page = rig.get("127.0.0.1", path).await;
        assert!(page.contains("action=\"/login\"") && !page.contains("Hotel"), "{path}: {page}");
    }
    let token = rig.token_of("/").await;
    let scan = format!("token={token}");
    assert_eq!(status(&rig.post("/wifi/scan", "", &scan).await), 403);
    let wrong = rig.post("/login", "", &format!("token={token}&passphrase=abcd-efgh-jkmm")).await;
    assert!(status(&wrong) == 403 && !wrong.to_lowercase().contains("set-cookie"), "{wrong}");
    let right = rig.post("/login", "", &format!("token={token}&passphrase=+abcd-efgh-jkmn")).await;
    let cookie = right.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    // A form's token opens nothing, as whoever sees the page has one.
    for (cookie, code) in [(cookie.to_owned(), 303), (format!("strata={token}"), 403), ("strata=".to_owned(), 403)] {
        let answer = rig.post("/wifi/scan", &format!("Cookie: other=1; {cookie}\r\n"), &scan).await;
        assert_eq!(status(&answer), code, "{cookie}");
    }
    assert_eq!(rig.asked(), ["scan"]);
}

/// What the kernel says of this process's memory, in KiB.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_flood_is_answered_shortly_takes_no_memory_and_shuts_nobody_else_out() {
    const FLOOD: usize = 5_000;
    let rig = Rig::start().await;
    rig.get("127.0.0.1", "/").await;
    let before = resident_kib();
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let (mut reads, mut writes) = stream.split();
    let requests = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(FLOOD);
    let mut answers = Vec::new();
    let flood = async {
        // It is closed on whoever does not stop.
        let _closed = writes.write_all(requests.as_bytes()).await;
        writes.shutdown().await.ok();
    };
    let _closed = tokio::join!(flood, reads.read_to_end(&mut answers)).1;
    let answers = String::from_utf8_lossy(&answers);
    assert!(answers.matches("HTTP/1.1 429").count() > FLOOD / 2, "{}", answers.len());
    drop(answers);
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(rig.address).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert_eq!(status(&answer), 200);
}
