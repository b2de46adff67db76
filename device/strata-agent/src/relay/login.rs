//! What is said at a login, and what the answers mean. No sockets here.

use strata_control::{
    AuthLogin, AuthLoginResponse, Credential, DeviceConfig, DeviceId, ENROL_CONTEXT, LOGIN_CONTEXT, OwnerId, Refusal,
    Sensitive, SessionToken,
};
use strata_identity::KeyPair;

use super::{Problem, ProblemKind};

/// How the device will prove who it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    /// By its key: it is enrolled.
    Key(DeviceId),
    /// By a token: first contact, or after the relay forgot it.
    Token(Sensitive),
}

impl Proof {
    /// The first message's credential.
    pub(super) fn credential(&self, key: &KeyPair) -> Credential {
        match self {
            Self::Key(device_id) => Credential::Hello { device_id: *device_id },
            Self::Token(token) => Credential::EnrolmentToken {
                token: token.clone(),
                public_key: key.public(),
                proof: key.sign(ENROL_CONTEXT, token.reveal().as_bytes()),
            },
        }
    }

    /// The answer to `challenge`; none when no challenge fits this proof.
    pub(super) fn answer(&self, key: &KeyPair, challenge: &str) -> Option<Credential> {
        let Self::Key(device_id) = self else { return None };
        let signature = key.sign(LOGIN_CONTEXT, format!("{challenge}{device_id}").as_bytes());
        Some(Credential::ChallengeAnswer { device_id: *device_id, signature })
    }
}

/// What a login gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LoggedIn {
    pub(super) device_id: DeviceId,
    pub(super) owner: OwnerId,
    pub(super) session: SessionToken,
    pub(super) config: DeviceConfig,
    /// Whether a token was used up for it.
    pub(super) enrolled: bool,
}

/// The next step of a login.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(clippy::large_enum_variant, reason = "few and short-lived")]
pub(super) enum Step {
    /// Send this.
    Send(Credential),
    /// It is done.
    Done(LoggedIn),
    /// The relay says no.
    Refused(Refusal, Problem),
    /// The relay's answer makes no sense here.
    Nonsense(&'static str),
}

/// What follows from the relay's answer.
pub(super) fn next(proof: &Proof, key: &KeyPair, challenged: bool, answer: AuthLoginResponse) -> Step {
    match answer {
        AuthLoginResponse::Challenge { challenge } if !challenged => match proof.answer(key, &challenge) {
            Some(credential) => Step::Send(credential),
            None => Step::Nonsense("it answered an enrolment token with a challenge"),
        },
        AuthLoginResponse::Challenge { .. } => Step::Nonsense("it sent a second challenge"),
        AuthLoginResponse::Accepted { device_id, owner, session, config } => {
            Step::Done(LoggedIn { device_id, owner, session, config, enrolled: false })
        }
        AuthLoginResponse::Enrolled { device_id, owner, session, config } => {
            Step::Done(LoggedIn { device_id, owner, session, config, enrolled: true })
        }
        AuthLoginResponse::Refused { reason, message } => Step::Refused(reason, problem(reason, &message)),
    }
}

fn problem(reason: Refusal, message: &str) -> Problem {
    let (kind, what) = match reason {
        Refusal::TokenUnknown => (ProblemKind::TokenUnknown, "the relay does not know this enrolment token"),
        Refusal::TokenUsed => (ProblemKind::TokenUsed, "this enrolment token was used before"),
        Refusal::TokenExpired => (ProblemKind::TokenExpired, "this enrolment token has expired"),
        Refusal::DeviceUnknown => {
            (ProblemKind::Refused, "the relay does not know this device: enrol it with a new token")
        }
        Refusal::KeyRevoked => (ProblemKind::Revoked, "the relay has revoked this device's key"),
        Refusal::SignatureWrong => (ProblemKind::Refused, "the relay holds another key for this device"),
        Refusal::VersionUnsupported => (ProblemKind::Refused, "the relay does not understand this agent's version"),
        Refusal::TooManyAttempts => (ProblemKind::Refused, "too many attempts: the relay asks to wait"),
        Refusal::Other => (ProblemKind::Refused, "the relay refused the login"),
    };
    Problem { kind, message: format!("{what} ({message})") }
}

/// Whether a new token, where there is one, is worth a try after this refusal of the key.
pub(super) fn may_enrol_again(reason: Refusal) -> bool {
    matches!(reason, Refusal::DeviceUnknown | Refusal::KeyRevoked | Refusal::SignatureWrong)
}

/// The first message.
pub(super) fn message(credential: Credential, agent: strata_control::AgentInfo) -> AuthLogin {
    AuthLogin { credential, agent }
}

#[cfg(test)]
mod tests {
    use strata_control::OwnerId;
    use uuid::Uuid;

    use super::*;

    fn accepted() -> AuthLoginResponse {
        AuthLoginResponse::Accepted {
            device_id: DeviceId(Uuid::nil()),
            owner: OwnerId(Uuid::nil()),
            session: SessionToken { token: Sensitive::new("jwt"), expires_at: jiff::Timestamp::UNIX_EPOCH },
            config: DeviceConfig::default(),
        }
    }

    #[test]
    fn a_challenge_is_signed_with_the_device_id() {
        let key = KeyPair::generate();
        let device_id = DeviceId(Uuid::now_v7());
        let proof = Proof::Key(device_id);
        let challenge = AuthLoginResponse::Challenge { challenge: "ab".repeat(32) };
        let Step::Send(Credential::ChallengeAnswer { signature, .. }) = next(&proof, &key, false, challenge.clone())
        else {
            panic!("no answer to the challenge")
        };
        let signed = format!("{}{device_id}", "ab".repeat(32));
        assert!(key.public().verify(LOGIN_CONTEXT, signed.as_bytes(), &signature));
        assert!(matches!(next(&proof, &key, true, challenge.clone()), Step::Nonsense(_)));
        assert!(matches!(next(&Proof::Token(Sensitive::new("t")), &key, false, challenge), Step::Nonsense(_)));
        assert!(matches!(next(&proof, &key, true, accepted()), Step::Done(LoggedIn { enrolled: false, .. })));
    }

    #[test]
    fn an_enrolment_proves_the_key_over_the_token() {
        let key = KeyPair::generate();
        let proof = Proof::Token(Sensitive::new("token"));
        let Credential::EnrolmentToken { public_key, proof, .. } = proof.credential(&key) else { panic!("no token") };
        assert!(public_key.verify(ENROL_CONTEXT, b"token", &proof));
    }

    #[test]
    fn each_refusal_says_what_and_repeats_the_relays_words() {
        for (reason, kind, part) in [
            (Refusal::TokenUnknown, ProblemKind::TokenUnknown, "does not know this enrolment token"),
            (Refusal::TokenUsed, ProblemKind::TokenUsed, "used before"),
            (Refusal::TokenExpired, ProblemKind::TokenExpired, "expired"),
            (Refusal::DeviceUnknown, ProblemKind::Refused, "new token"),
            (Refusal::KeyRevoked, ProblemKind::Revoked, "revoked"),
            (Refusal::SignatureWrong, ProblemKind::Refused, "another key"),
            (Refusal::VersionUnsupported, ProblemKind::Refused, "version"),
            (Refusal::TooManyAttempts, ProblemKind::Refused, "wait"),
            (Refusal::Other, ProblemKind::Refused, "refused"),
        ] {
            let problem = problem(reason, "ask Kim");
            assert_eq!(problem.kind, kind);
            assert!(problem.message.contains(part) && problem.message.contains("ask Kim"), "{}", problem.message);
        }
    }
}
