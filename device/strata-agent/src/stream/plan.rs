//! What differs between a stream as it runs and as it is wanted, as a pure function.

use strata_control::{BitrateBounds, EncoderSettings, LinkPolicy, Source, StreamStart};

/// What is to be done to an encoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// These changes, without interruption; none when nothing differs.
    Change(Vec<Change>),
    /// Start it anew: this cannot be changed while it runs.
    Replace(&'static str),
}

/// A change of a running encoder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// New bounds of the bitrate.
    Bitrate(BitrateBounds),
    /// New latency.
    Latency(u32),
    /// The links' settings.
    Links,
    /// Another source.
    Source(Source),
}

/// The plan from `running` to `wanted`.
pub(super) fn plan(running: &StreamStart, wanted: &StreamStart) -> Plan {
    let StreamStart { stream_id: _, source, encoder, receive, worker_key, links, record_locally } = wanted;
    if *worker_key != running.worker_key {
        return Plan::Replace("the relay's worker has another key");
    }
    if *receive != running.receive {
        return Plan::Replace("the relay's worker has another address");
    }
    let EncoderSettings { bitrate, latency_ms, .. } = *encoder;
    if (EncoderSettings { bitrate, latency_ms, ..running.encoder }) != *encoder {
        return Plan::Replace("the picture's or sound's settings changed");
    }
    if *record_locally != running.record_locally {
        return Plan::Replace(if *record_locally { "a recording was asked for" } else { "the recording was ended" });
    }
    let mut changes = Vec::new();
    if bitrate != running.encoder.bitrate {
        changes.push(Change::Bitrate(bitrate));
    }
    if latency_ms != running.encoder.latency_ms {
        changes.push(Change::Latency(latency_ms));
    }
    if *links != running.links {
        changes.push(Change::Links);
    }
    if *source != running.source {
        changes.push(Change::Source(source.clone()));
    }
    Plan::Change(changes)
}

/// Puts `changes` into `policies`, by interface.
pub(crate) fn merge_policies(policies: &mut Vec<LinkPolicy>, changes: &[LinkPolicy]) {
    for change in changes {
        match policies.iter_mut().find(|policy| policy.interface == change.interface) {
            Some(policy) => *policy = change.clone(),
            None => policies.push(change.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use strata_control::{ReceiveAddress, StreamId};
    use strata_identity::KeyPair;
    use uuid::Uuid;

    use super::*;

    fn start() -> StreamStart {
        StreamStart {
            stream_id: StreamId(Uuid::nil()),
            source: Source::TestPattern,
            encoder: EncoderSettings::default(),
            receive: ReceiveAddress { host: "192.0.2.1".into(), ports: vec![15_000] },
            worker_key: KeyPair::from_seed(&[1; 32]).public(),
            links: vec![],
            record_locally: false,
        }
    }

    fn planned(change: impl FnOnce(&mut StreamStart)) -> Plan {
        let mut wanted = start();
        change(&mut wanted);
        plan(&start(), &wanted)
    }

    #[test]
    fn the_same_command_changes_nothing() {
        assert_eq!(planned(|_| {}), Plan::Change(vec![]));
    }

    #[test]
    fn what_can_change_live_changes_live() {
        let bitrate = BitrateBounds { floor_bps: 200_000, target_bps: 300_000, ceiling_bps: 400_000 };
        let policy = LinkPolicy { interface: "eth0".into(), enabled: false, priority: 0, metered: false };
        let file = Source::File { path: "/a.mp4".into() };
        assert_eq!(planned(|s| s.encoder.bitrate = bitrate), Plan::Change(vec![Change::Bitrate(bitrate)]));
        assert_eq!(planned(|s| s.encoder.latency_ms = 700), Plan::Change(vec![Change::Latency(700)]));
        assert_eq!(planned(|s| s.links = vec![policy]), Plan::Change(vec![Change::Links]));
        assert_eq!(planned(|s| s.source = file.clone()), Plan::Change(vec![Change::Source(file.clone())]));
        assert_eq!(
            planned(|s| {
                s.source = file.clone();
                s.encoder.latency_ms = 700;
            }),
            Plan::Change(vec![Change::Latency(700), Change::Source(file.clone())])
        );
    }

    #[test]
    fn what_cannot_is_a_new_encoder() {
        for plan in [
            planned(|s| s.worker_key = KeyPair::from_seed(&[2; 32]).public()),
            planned(|s| s.receive.host = "192.0.2.2".into()),
            planned(|s| s.receive.ports = vec![15_001]),
            planned(|s| s.encoder.width = 1920),
            planned(|s| s.encoder.audio.bitrate_bps = 64_000),
            planned(|s| s.record_locally = true),
        ] {
            assert!(matches!(plan, Plan::Replace(_)), "{plan:?}");
        }
    }

    #[test]
    fn policies_merge_by_interface() {
        let policy = |name: &str, enabled| LinkPolicy { interface: name.into(), enabled, priority: 0, metered: false };
        let mut policies = vec![policy("a", true), policy("b", true)];
        merge_policies(&mut policies, &[policy("b", false), policy("c", true)]);
        assert_eq!(policies, [policy("a", true), policy("b", false), policy("c", true)]);
    }
}
