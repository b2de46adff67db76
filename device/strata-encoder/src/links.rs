//! The links of the bond, between the agent's words and the transport's.
//!
//! Owns the translation and telling a link's trouble once. Does not own
//! connecting: the transport waits by itself for an interface that is not
//! there (a modem that dials in).

use std::collections::HashMap;

use strata_encoder_protocol::EncoderLink;
use strata_link::{LinkConfig, SenderStats};

/// As the transport names links.
pub(crate) fn configs(links: &[EncoderLink]) -> Vec<LinkConfig> {
    let config = |link: &EncoderLink| LinkConfig {
        id: link.id,
        name: link.interface.clone(),
        remote: link.remote,
        interface: link.bind.then(|| link.interface.clone()),
    };
    links.iter().map(config).collect()
}

/// What is wrong with the links, as far as it was told.
#[derive(Debug, Default)]
pub(crate) struct LinkTrouble {
    told: HashMap<u8, String>,
}

impl LinkTrouble {
    /// What became wrong since the last call, for people.
    pub(crate) fn news(&mut self, stats: &SenderStats) -> Vec<String> {
        let wrong: HashMap<u8, String> = stats
            .links
            .iter()
            .filter(|link| !link.error.is_empty())
            .map(|link| (link.id, format!("{}: {}", link.name, link.error)))
            .collect();
        let before = std::mem::replace(&mut self.told, wrong);
        let mut news: Vec<_> = self.told.iter().filter(|&(id, text)| before.get(id) != Some(text)).collect();
        news.sort();
        news.into_iter().map(|(_, text)| text.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strata_link::SenderLinkStats;

    #[test]
    fn a_link_s_trouble_is_told_once_and_again_when_it_returns() {
        let stats = |errors: &[(u8, &str)]| SenderStats {
            links: errors
                .iter()
                .map(|&(id, error)| SenderLinkStats {
                    id,
                    name: format!("wwan{id}"),
                    error: error.to_owned(),
                    ..SenderLinkStats::default()
                })
                .collect(),
            ..SenderStats::default()
        };
        let mut trouble = LinkTrouble::default();
        assert_eq!(trouble.news(&stats(&[(0, ""), (1, "no answer")])), ["wwan1: no answer"]);
        assert!(trouble.news(&stats(&[(0, ""), (1, "no answer")])).is_empty());
        assert_eq!(trouble.news(&stats(&[(0, "gone"), (1, "refused")])), ["wwan0: gone", "wwan1: refused"]);
        assert!(trouble.news(&stats(&[(0, ""), (1, "")])).is_empty());
        assert_eq!(trouble.news(&stats(&[(0, "gone"), (1, "")])), ["wwan0: gone"]);
    }
}
