//! The command line: what can be chosen, and what is wrong with what was.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use strata_identity::PublicKey;

/// Carries UDP datagrams over several links at once, repairs what the links lose, and keeps their timing.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLE)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLE: &str = "\
Example, from a field unit with two modems to a server at 203.0.113.7:
  server$ strata-bond keygen server.key                # prints the server's public key
  unit$   strata-bond keygen unit.key                  # prints the unit's public key
  server$ strata-bond receive --key server.key --allow UNIT_PUBLIC_KEY \\
              --listen 0.0.0.0:6000 --output udp://127.0.0.1:8000 --latency 1000ms
  unit$   strata-bond send --key unit.key --peer SERVER_PUBLIC_KEY \\
              --link 203.0.113.7:6000@wwan0 --link 203.0.113.7:6000@wwan1 \\
              --input udp://127.0.0.1:7000 --latency 1000ms

STRATA_LOG sets what is logged to standard error: error, warn, info, debug, trace.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a new private key (mode 0600) and prints its public key
    Keygen {
        /// Where to write the key; an existing file is never overwritten
        file: PathBuf,
    },
    /// Takes datagrams from a sender and hands them out as UDP
    Receive(Receive),
    /// Takes UDP datagrams and carries them to a receiver
    Send(Send),
}

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// This end's private key, written by `strata-bond keygen`
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Public key of the only sender to take datagrams from
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) allow: PublicKey,
    /// Where to listen, such as 0.0.0.0:6000 or [::]:6000
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    pub(crate) listen: SocketAddr,
    /// Where the datagrams go, such as udp://127.0.0.1:8000
    #[arg(long, value_name = "udp://HOST:PORT", value_parser = udp_address)]
    pub(crate) output: SocketAddr,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// This end's private key, written by `strata-bond keygen`
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Public key of the only receiver to talk to
    #[arg(long, value_name = "PUBKEY")]
    pub(crate) peer: PublicKey,
    /// Where datagrams come in, such as udp://127.0.0.1:7000; a multicast group is joined
    #[arg(long, value_name = "udp://HOST:PORT", value_parser = udp_address)]
    pub(crate) input: SocketAddr,
    /// A path to the receiver, over the named interface if one is named; may be given up to 16 times
    #[arg(long = "link", value_name = "HOST:PORT[@INTERFACE]", required = true, value_parser = link)]
    pub(crate) links: Vec<Link>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Time from sending to release at the receiver, 20ms to 30s; if the ends differ, the larger holds
    #[arg(long, value_name = "TIME", default_value = "1000ms", value_parser = duration)]
    pub(crate) latency: Duration,
    /// Appends one line of JSON per interval to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) stats: Option<PathBuf>,
    /// How often
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub(crate) stats_interval: Duration,
}

/// One `--link`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) remote: SocketAddr,
    pub(crate) interface: Option<String>,
    pub(crate) text: String,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| format!("{error}; expected HOST:PORT, such as 203.0.113.7:6000 or [2001:db8::7]:6000"))?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

fn udp_address(text: &str) -> Result<SocketAddr, String> {
    let rest = text.strip_prefix("udp://").ok_or("expected udp://HOST:PORT, such as udp://127.0.0.1:7000")?;
    // An @ before the host is how other tools mark a listening address.
    address(rest.strip_prefix('@').unwrap_or(rest))
}

fn link(text: &str) -> Result<Link, String> {
    let (host, interface) = match text.rsplit_once('@') {
        Some((_, "")) => return Err("the interface after @ is missing".into()),
        Some((host, interface)) => (host, Some(interface.to_owned())),
        None => (text, None),
    };
    Ok(Link { remote: address(host)?, interface, text: text.to_owned() })
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "" => return Err("the unit is missing: 1000ms or 1s".into()),
        unit => return Err(format!("“{unit}” is not a unit of time here: 1000ms or 1s")),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a number and a unit, such as 1000ms or 1s")?;
    Duration::try_from_secs_f64(number * unit).map_err(|_| "not a possible time".into())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval >= Duration::from_millis(10) { Ok(interval) } else { Err("the least interval is 10ms".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("1000ms"), Ok(Duration::from_secs(1)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for bad in ["1000", "ms", "-1s", "1h", "", "1e400s", "s1"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_name_an_address_and_perhaps_an_interface() {
        let with = link("127.0.0.1:6000@wwan0").unwrap();
        assert_eq!((with.remote.port(), with.interface.as_deref()), (6000, Some("wwan0")));
        assert_eq!(link("[::1]:6000").unwrap().interface, None);
        assert!(link("127.0.0.1:6000@").is_err());
        assert!(link("127.0.0.1").unwrap_err().contains("HOST:PORT"));
    }

    #[test]
    fn inputs_are_udp() {
        assert!(udp_address("udp://127.0.0.1:7000").is_ok());
        assert!(udp_address("udp://@127.0.0.1:7000").is_ok());
        assert!(udp_address("127.0.0.1:7000").unwrap_err().contains("udp://"));
    }
}
