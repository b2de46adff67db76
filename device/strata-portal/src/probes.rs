//! What phones and computers ask a network for, to find out whether it has a page to show first.
//!
//! While the device wants its page seen, none of these gets what it expects: that
//! is what opens the sheet. Afterwards each gets exactly that, so that the phone
//! stays and does not complain of a network without internet. The table holds
//! names and answers as the makers' own servers give them; where a name is not in
//! it, the path decides, because makers and carriers have names of their own.
//!
//! Sources: RFC 8908, RFC 8910; each system's documentation and source, named in
//! `docs/device/onboarding.md`.

/// An answer of a maker's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The type of the body; none without one.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: &'static str,
    /// A header that is looked at, beside those of the body.
    pub header: Option<(&'static str, &'static str)>,
}

/// A request that is a probe.
#[derive(Debug, Clone, Copy)]
struct Probe {
    /// The end of the name that is asked; empty: any.
    host: &'static str,
    path: &'static str,
    answer: Answer,
}

const fn text(body: &'static str) -> Answer {
    Answer { status: 200, content_type: Some("text/plain"), body, header: None }
}

const fn html(body: &'static str) -> Answer {
    Answer { status: 200, content_type: Some("text/html"), body, header: None }
}

const NO_CONTENT: Answer = Answer { status: 204, content_type: None, body: "", header: None };
const APPLE: Answer = html("<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>");
const NETWORK_MANAGER: (&str, &str) = ("X-NetworkManager-Status", "online");

const fn probe(host: &'static str, path: &'static str, answer: Answer) -> Probe {
    Probe { host, path, answer }
}

/// The first that fits counts.
const PROBES: &[Probe] = &[
    // iOS, iPadOS, macOS.
    probe("captive.apple.com", "/", APPLE),
    probe("", "/hotspot-detect.html", APPLE),
    probe("", "/library/test/success.html", APPLE),
    // Android, ChromeOS, Chrome; Samsung, Huawei (hicloud.com), Xiaomi (miui.com), Oppo and Vivo under names of their own.
    probe("", "/generate_204", NO_CONTENT),
    probe("", "/gen_204", NO_CONTENT),
    probe("", "/mobile/status.php", NO_CONTENT),
    // Windows.
    probe("", "/connecttest.txt", text("Microsoft Connect Test")),
    probe("", "/ncsi.txt", text("Microsoft NCSI")),
    // Firefox.
    probe("detectportal.firefox.com", "/success.txt", text("success\n")),
    probe(
        "detectportal.firefox.com",
        "/canonical.html",
        html("<meta http-equiv=\"refresh\" content=\"0;url=https://support.mozilla.org/kb/captive-portal\"/>"),
    ),
    // GNOME and NetworkManager, by distribution.
    probe(
        "nmcheck.gnome.org",
        "/check_network_status.txt",
        Answer { header: Some(NETWORK_MANAGER), ..text("NetworkManager is online\n") },
    ),
    probe(
        "network-test.debian.org",
        "/nm",
        Answer { header: Some(NETWORK_MANAGER), ..text("NetworkManager is online\n") },
    ),
    probe("connectivity-check.ubuntu.com", "/", Answer { header: Some(NETWORK_MANAGER), ..NO_CONTENT }),
    probe("fedoraproject.org", "/static/hotspot.txt", Answer { header: Some(NETWORK_MANAGER), ..text("OK") }),
    probe(
        "ping.archlinux.org",
        "/nm-check.txt",
        Answer { header: Some(NETWORK_MANAGER), ..text("NetworkManager is online\n") },
    ),
    // KDE.
    probe("networkcheck.kde.org", "/", text("OK\n")),
];

/// What the maker's server would answer; none if this is no probe. The host may carry a port.
#[must_use]
pub fn online_answer(host: &str, path: &str) -> Option<Answer> {
    let host = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.');
    let path = path.split('?').next().unwrap_or(path);
    let asks = |probe: &&Probe| probe.path == path && is_or_ends_with(host, probe.host);
    PROBES.iter().find(asks).map(|probe| probe.answer)
}

/// Whether `host` is `name` or below it, whatever the case.
fn is_or_ends_with(host: &str, name: &str) -> bool {
    if name.is_empty() {
        return true;
    }
    let Some(before) = host.len().checked_sub(name.len()) else { return false };
    let end = host.get(before..).is_some_and(|end| end.eq_ignore_ascii_case(name));
    end && (before == 0 || host.as_bytes()[before - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_gets_what_its_own_server_says() {
        let table = [
            (
                "captive.apple.com",
                "/hotspot-detect.html",
                200,
                "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>",
            ),
            (
                "www.apple.com",
                "/library/test/success.html",
                200,
                "<HTML><HEAD><TITLE>Success</TITLE></HEAD><BODY>Success</BODY></HTML>",
            ),
            ("connectivitycheck.gstatic.com", "/generate_204", 204, ""),
            ("clients3.google.com", "/generate_204", 204, ""),
            ("www.google.com", "/gen_204", 204, ""),
            ("connectivitycheck.platform.hicloud.com", "/generate_204", 204, ""),
            ("connect.rom.miui.com", "/generate_204", 204, ""),
            ("www.msftconnecttest.com", "/connecttest.txt", 200, "Microsoft Connect Test"),
            ("ipv6.msftconnecttest.com", "/connecttest.txt", 200, "Microsoft Connect Test"),
            ("www.msftncsi.com", "/ncsi.txt", 200, "Microsoft NCSI"),
            ("detectportal.firefox.com", "/success.txt?ipv4", 200, "success\n"),
            ("nmcheck.gnome.org", "/check_network_status.txt", 200, "NetworkManager is online\n"),
            ("network-test.debian.org", "/nm", 200, "NetworkManager is online\n"),
            ("networkcheck.kde.org", "/", 200, "OK\n"),
        ];
        for (host, path, status, body) in table {
            let answer = online_answer(host, path).unwrap_or_else(|| panic!("{host}{path}"));
            assert_eq!((answer.status, answer.body), (status, body), "{host}{path}");
        }
    }

    #[test]
    fn names_are_compared_as_names() {
        assert!(online_answer("NetworkCheck.KDE.org:80", "/").is_some());
        assert!(online_answer("networkcheck.kde.org.", "/").is_some());
        for host in ["10.42.0.1", "evil-networkcheck.kde.org", "kde.org", "", "é.org"] {
            assert_eq!(online_answer(host, "/"), None, "{host}");
        }
        assert_eq!(online_answer("example.com", "/index.html"), None);
    }
}
