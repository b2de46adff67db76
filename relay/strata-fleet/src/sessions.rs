//! Logins of people: sessions of the pages, access and refresh tokens of the API.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use strata_relay_db::{Credentials, NewRefreshToken, RefreshOutcome, Role, UserRecord};

use crate::inner::{Inner, lock};
use crate::{Actor, ApiTokens, Fleet, FleetError, SessionCookie, jwt, password, token};

/// How long a session of the pages lasts.
const SESSION_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long an access token lasts.
const ACCESS_LIFE: Duration = Duration::from_secs(3600);
/// How long a refresh token lasts.
const REFRESH_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest e-mail address (RFC 5321), in bytes.
pub(crate) const MAX_EMAIL_BYTES: usize = 254;

impl Fleet {
    /// Logs a person in to the pages.
    ///
    /// # Errors
    /// [`FleetError::WrongCredentials`], [`FleetError::TooManyAttempts`], or the storage failed.
    pub async fn login(
        &self,
        email: &str,
        password: &SecretString,
        remote: Option<IpAddr>,
    ) -> Result<SessionCookie, FleetError> {
        let user = self.inner.check_password(email, password, remote).await?;
        let token = token::new_token();
        let expires_at = Timestamp::now() + SESSION_LIFE;
        let actor = actor(user, remote);
        let entry = Inner::audit(&actor, "session.login", actor.name.clone(), String::new());
        self.inner.db.add_session(&token::hash(token.expose_secret()), actor.user_id, expires_at, &entry).await?;
        Ok(SessionCookie { token, expires_at, actor })
    }

    /// Who holds this session; none when it is unknown or over.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn session(&self, token: &str, remote: Option<IpAddr>) -> Result<Option<Actor>, FleetError> {
        let user = self.inner.db.session_user(&token::hash(token), Timestamp::now()).await?;
        Ok(user.map(|user| actor(user, remote)))
    }

    /// Ends a session of the pages; one that is not there is no error.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn logout(&self, token: &str, remote: Option<IpAddr>) -> Result<(), FleetError> {
        let Some(actor) = self.session(token, remote).await? else { return Ok(()) };
        let entry = Inner::audit(&actor, "session.logout", actor.name.clone(), String::new());
        Ok(self.inner.db.end_session(&token::hash(token), &entry).await?)
    }

    /// Logs a person or program in to the API.
    ///
    /// # Errors
    /// [`FleetError::WrongCredentials`], [`FleetError::TooManyAttempts`], or the storage failed.
    pub async fn api_login(
        &self,
        email: &str,
        password: &SecretString,
        remote: Option<IpAddr>,
    ) -> Result<ApiTokens, FleetError> {
        let user = self.inner.check_password(email, password, remote).await?;
        let actor = actor(user, remote);
        let (refresh_token, refresh) = new_refresh_token();
        let entry = Inner::audit(&actor, "api.login", actor.name.clone(), String::new());
        self.inner.db.add_refresh_token(&refresh, actor.user_id, &entry).await?;
        Ok(self.inner.tokens(&actor, refresh_token, refresh.expires_at))
    }

    /// Exchanges a refresh token, once, for new tokens. A token that comes a second time revokes its whole family.
    ///
    /// # Errors
    /// [`FleetError::SessionOver`] when the token is not good, or the storage failed.
    pub async fn api_refresh(&self, refresh_token: &str, remote: Option<IpAddr>) -> Result<ApiTokens, FleetError> {
        let (next_token, next) = new_refresh_token();
        let presented = token::hash(refresh_token);
        match self.inner.db.rotate_refresh_token(&presented, &next, Timestamp::now()).await? {
            RefreshOutcome::Rotated(user) => Ok(self.inner.tokens(&actor(user, remote), next_token, next.expires_at)),
            RefreshOutcome::Refused => Err(FleetError::SessionOver),
            RefreshOutcome::Reused(user) => {
                let actor = actor(user, remote);
                tracing::warn!(user = actor.name, "a refresh token was used twice: its family is revoked");
                let detail = "a refresh token was used twice: all tokens of that login are revoked".to_owned();
                let entry = Inner::audit(&actor, "api.refresh_reused", actor.name.clone(), detail);
                self.inner.db.add_audit(&entry).await?;
                Err(FleetError::SessionOver)
            }
        }
    }

    /// Revokes a refresh token and its family; one that is not there is no error.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn api_logout(&self, refresh_token: &str, _remote: Option<IpAddr>) -> Result<(), FleetError> {
        Ok(self.inner.db.revoke_refresh_token(&token::hash(refresh_token), Timestamp::now()).await?)
    }

    /// Who holds this access token; none when it is wrong or over, or its user is gone.
    ///
    /// # Errors
    /// When the storage fails.
    pub async fn api_actor(&self, access_token: &str, remote: Option<IpAddr>) -> Result<Option<Actor>, FleetError> {
        let claims = jwt::read(&self.inner.secrets.token_key, access_token, Timestamp::now());
        // A device's session token names a role that no user has.
        let Some(claims) = claims.filter(|claims| claims.role.parse::<Role>().is_ok()) else { return Ok(None) };
        let Ok(id) = claims.sub.parse() else { return Ok(None) };
        let user = self.inner.db.user(id).await?;
        Ok(user.filter(|user| user.owner == claims.owner).map(|user| actor(user, remote)))
    }
}

fn actor(user: UserRecord, remote: Option<IpAddr>) -> Actor {
    Actor { user_id: user.id, owner_id: user.owner, role: user.role, name: user.email, remote }
}

fn new_refresh_token() -> (SecretString, NewRefreshToken) {
    let token = token::new_token();
    let hash = token::hash(token.expose_secret());
    (token, NewRefreshToken { hash, expires_at: Timestamp::now() + REFRESH_LIFE })
}

impl Inner {
    /// The user with this e-mail address and password. Takes as long for an unknown address as for a known one.
    async fn check_password(
        &self,
        email: &str,
        given: &SecretString,
        remote: Option<IpAddr>,
    ) -> Result<UserRecord, FleetError> {
        let email = email.trim();
        if email.len() > MAX_EMAIL_BYTES {
            return Err(FleetError::WrongCredentials);
        }
        let email_key = email.to_lowercase();
        let address_key = remote.map(|address| address.to_string());
        let now = Instant::now();
        let too_many = |retry_after| FleetError::TooManyAttempts { retry_after };
        if let Some(address) = &address_key {
            lock(&self.logins_by_address).attempt(address, now).map_err(too_many)?;
        }
        lock(&self.logins_by_email).attempt(&email_key, now).map_err(too_many)?;

        let stored = self.db.credentials(email).await?;
        let hash = stored.as_ref().map(|Credentials { password_hash, .. }| password_hash.clone());
        let good = self.verify(given.clone(), hash).await?;
        match stored {
            Some(Credentials { user, .. }) if good => {
                lock(&self.logins_by_email).succeeded(&email_key);
                if let Some(address) = &address_key {
                    lock(&self.logins_by_address).succeeded(address);
                }
                Ok(user)
            }
            Some(Credentials { user, .. }) => {
                let actor = actor(user, remote);
                let entry = Self::audit(&actor, "session.login_failed", actor.name.clone(), String::new());
                self.db.add_audit(&entry).await?;
                Err(FleetError::WrongCredentials)
            }
            None => Err(FleetError::WrongCredentials),
        }
    }

    /// Verifies on a thread for blocking work; without a hash, against one that nobody's password has.
    async fn verify(&self, given: SecretString, hash: Option<SecretString>) -> Result<bool, FleetError> {
        static NOBODY: OnceLock<SecretString> = OnceLock::new();
        let _permit = self.hashing.acquire().await.map_err(|error| internal("check a password", error))?;
        tokio::task::spawn_blocking(move || match hash {
            Some(hash) => password::verify(&given, &hash),
            None => {
                let nobody = NOBODY.get_or_init(|| password::hash(&token::new_token()));
                // For the time it takes; whatever comes of it, nobody is logged in.
                std::hint::black_box(password::verify(&given, nobody));
                false
            }
        })
        .await
        .map_err(|error| internal("check a password", error))
    }

    /// Hashes a new password on a thread for blocking work.
    pub(crate) async fn hash_password(self: &Arc<Self>, given: &SecretString) -> Result<SecretString, FleetError> {
        if let Some(message) = password::problem(given) {
            return Err(FleetError::Invalid { message });
        }
        let _permit = self.hashing.acquire().await.map_err(|error| internal("hash a password", error))?;
        let given = given.clone();
        tokio::task::spawn_blocking(move || password::hash(&given))
            .await
            .map_err(|error| internal("hash a password", error))
    }

    fn tokens(&self, actor: &Actor, refresh_token: SecretString, refresh_expires_at: Timestamp) -> ApiTokens {
        let life = (Timestamp::now(), ACCESS_LIFE);
        let key = &self.secrets.token_key;
        let (access_token, access_expires_at) =
            jwt::issue(key, actor.user_id.to_string(), actor.role.as_str(), actor.owner_id, life);
        ApiTokens { access_token, access_expires_at, refresh_token, refresh_expires_at }
    }
}

fn internal(step: &str, error: impl std::error::Error + Send + Sync + 'static) -> FleetError {
    FleetError::Internal { context: format!("the relay could not {step}"), source: Box::new(error) }
}
