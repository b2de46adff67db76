//! `strata-agent enrol`: hands the relay's address, its certificate authority and a token to the agent.
//!
//! Owns the checks and the order: everything is looked at before the first file is written, and the token comes last,
//! so that an agent never shows it to another relay than the one it is for. Root may run it: the files become those of
//! the state folder's owner.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context;

use crate::config::{Config, RelayUrl};
use crate::enrolment::{EnrolmentFile, TokenFile, parse_token};
use crate::files::Owner;
use crate::relay::check_authorities;
use crate::relay_address::RelayAddress;

/// More is no file of certificate authorities.
const CA_MAX_BYTES: u64 = 256 * 1024;

/// What is handed over.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The relay; none keeps the one that is known.
    pub relay: Option<&'a RelayUrl>,
    /// A PEM file with the relay's certificate authority.
    pub ca_file: Option<&'a Path>,
    /// The token as it was typed.
    pub token: &'a str,
}

/// Hands it over; what was done and what follows, for people.
///
/// # Errors
/// Says what is wrong and what to do.
pub fn enrol(config: &Config, wanted: Wanted<'_>) -> anyhow::Result<String> {
    let token = parse_token(wanted.token)?;
    let pem = wanted.ca_file.map(read_authority).transpose()?;
    let owner = Owner::of(&config.state_dir)
        .context("the agent keeps its state there: start it once before the device is enrolled")?;
    let address = RelayAddress::new(config);
    let known = address.read();
    let relay = match (wanted.relay, known) {
        (Some(relay), _) => relay.clone(),
        (None, Ok(Some(known))) => known.url,
        (None, Ok(None)) => anyhow::bail!("this device knows no relay yet: add --relay URL"),
        (None, Err(error)) => return Err(error),
    };
    let file = TokenFile::new(config.token_file(), config.token_file.is_none());
    if let Some(relay) = wanted.relay {
        address.check(relay)?;
        // A token that was never used is for the former relay.
        file.remove_own()?;
        address.write(relay, pem.as_deref(), owner)?;
    }
    file.write(&token, owner)?;
    Ok(format!(
        "the token for {} is kept in {}; a running agent uses it within seconds{}",
        relay.as_str(),
        file.path().display(),
        what_of_the_former(config, &relay)
    ))
}

/// What happens to an enrolment that there is already.
fn what_of_the_former(config: &Config, relay: &RelayUrl) -> String {
    match EnrolmentFile::new(&config.state_dir).read() {
        Ok(None) => String::new(),
        Ok(Some(former)) if former.relay_url == relay.as_str() => {
            "\nthis device is enrolled there already: the token is used only if that relay no longer knows the device"
                .to_owned()
        }
        Ok(Some(former)) => format!(
            "\nthis device leaves {}, where it stays listed as offline until it is removed there",
            former.relay_url
        ),
        Err(error) => format!("\nthe former enrolment keeps the agent from it: {error:#}"),
    }
}

fn read_authority(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read the certificate authority {}", path.display());
    let mut pem = Vec::new();
    File::open(path).with_context(cannot)?.take(CA_MAX_BYTES + 1).read_to_end(&mut pem).with_context(cannot)?;
    anyhow::ensure!(
        pem.len() as u64 <= CA_MAX_BYTES,
        "{} is larger than {} KiB: that is no file of certificate authorities",
        path.display(),
        CA_MAX_BYTES / 1024
    );
    // What is no text is a comment, or no certificate.
    let pem = String::from_utf8_lossy(&pem).into_owned();
    check_authorities(pem.as_bytes()).with_context(|| format!("in {}", path.display()))?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(folder: &Path, more: &str) -> Config {
        toml::from_str(&format!("state_dir = {folder:?}\n{more}\n")).unwrap()
    }

    fn enrol_at(config: &Config, relay: &str) -> anyhow::Result<String> {
        let relay = relay.parse().unwrap();
        enrol(config, Wanted { relay: Some(&relay), ca_file: None, token: "new" })
    }

    #[test]
    fn a_refusal_leaves_everything_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("enrolment-token");
        fs::write(&token, "unused\n").unwrap();
        let config = config(folder.path(), "relay_url = \"wss://a.example\"");
        let refused = enrol_at(&config, "wss://b.example").unwrap_err().to_string();
        assert!(refused.contains("relay_url"), "{refused}");
        assert_eq!(fs::read_to_string(&token).unwrap(), "unused\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        enrol_at(&config, "wss://a.example").unwrap();
        assert_eq!(fs::read_to_string(&token).unwrap(), "new\n");
    }

    #[test]
    fn a_configured_tokens_file_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        // The relay's address cannot be kept: a folder is in its way.
        fs::create_dir(folder.path().join("relay.toml")).unwrap();
        for (name, more, kept) in [
            ("mine", format!("token_file = {:?}", folder.path().join("mine")), true),
            ("enrolment-token", String::new(), false),
        ] {
            let token = folder.path().join(name);
            fs::write(&token, "former\n").unwrap();
            enrol_at(&config(folder.path(), &more), "wss://a.example").unwrap_err();
            assert_eq!(token.exists(), kept, "{name}");
        }
    }
}
