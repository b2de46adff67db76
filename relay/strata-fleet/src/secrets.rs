//! The relay's own secrets, in files outside the database: made at the first start, mode 0600, never replaced.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use secrecy::{ExposeSecret, SecretBox};
use sha2::Sha256;
use strata_control::StreamId;
use strata_identity::{KeyFileError, KeyPair};
use strata_relay_db::SealKey;

/// What separates workers' keys from anything else that may be derived from the relay's secret.
const WORKER_KEY_LABEL: &[u8] = b"strata worker key v1";

/// What can go wrong with a secret's file; each names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretsError {
    /// The file or its folder cannot be read or made.
    #[error("cannot read or make {path}: check the folder's permissions and the disk")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read it.
    #[error("{path} may be read by others (mode {mode:04o}): run `chmod 600 {path}`")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("{path} does not hold 64 hexadecimal digits: put it back from a backup")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The key that signs tokens.
    #[error(transparent)]
    Key(#[from] KeyFileError),
}

/// The secrets of a relay.
pub(crate) struct Secrets {
    relay: SecretBox<[u8; 32]>,
    /// Signs session and access tokens.
    pub(crate) token_key: KeyPair,
    /// Seals stream keys in the database.
    pub(crate) seal_key: SealKey,
}

impl Secrets {
    /// Reads the secrets in `folder`, or makes those that are missing.
    pub(crate) fn read_or_create(folder: &Path) -> Result<Self, SecretsError> {
        private_folder(folder)?;
        Ok(Self {
            relay: SecretBox::new(Box::new(read_or_create(&folder.join("relay.secret"))?)),
            token_key: KeyPair::read_or_create(&folder.join("token.key"))?,
            seal_key: SealKey::new(read_or_create(&folder.join("seal.secret"))?),
        })
    }

    /// The key of a stream's worker: the same after a restart of worker or relay, on no disk.
    pub(crate) fn worker_key(&self, stream: StreamId) -> KeyPair {
        let derive = Hkdf::<Sha256>::new(Some(WORKER_KEY_LABEL), self.relay.expose_secret());
        let mut seed = [0u8; 32];
        derive.expand(stream.0.as_bytes(), &mut seed).expect("32 bytes are within HKDF-SHA256's limit");
        KeyPair::from_seed(&seed)
    }
}

/// Makes a folder that only its owner may enter; an existing one is narrowed.
pub(crate) fn private_folder(folder: &Path) -> Result<(), SecretsError> {
    let io = |source| SecretsError::Io { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(io)
}

fn read_or_create(path: &Path) -> Result<[u8; 32], SecretsError> {
    let io = |source| SecretsError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(SecretsError::Permissions { path: path.to_owned(), mode });
            }
            let mut secret = [0u8; 32];
            hex::decode_to_slice(fs::read_to_string(path).map_err(io)?.trim(), &mut secret)
                .map_err(|_| SecretsError::Format { path: path.to_owned() })?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0u8; 32];
            getrandom::fill(&mut secret).expect("the operating system provides random numbers");
            // Under another name first, so that a crash leaves no half-written secret behind.
            let partial = path.with_extension("partial");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(io)?;
            file.write_all(hex::encode(secret).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
            fs::rename(&partial, path).map_err(io)?;
            Ok(secret)
        }
        Err(error) => Err(io(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(number: u128) -> StreamId {
        StreamId(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn secrets_stay_the_same_and_belong_to_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets");
        let first = Secrets::read_or_create(&path).unwrap();
        let second = Secrets::read_or_create(&path).unwrap();
        assert_eq!(first.worker_key(stream(1)).public(), second.worker_key(stream(1)).public());
        assert_ne!(first.worker_key(stream(1)).public(), first.worker_key(stream(2)).public());
        assert_eq!(first.token_key.public(), second.token_key.public());
        for file in fs::read_dir(&path).unwrap() {
            assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_secret_that_others_may_read_or_that_is_broken_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        drop(Secrets::read_or_create(folder.path()).unwrap());
        let file = folder.path().join("relay.secret");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Secrets::read_or_create(folder.path()).err().unwrap().to_string();
        assert!(error.contains("relay.secret") && error.contains("chmod 600"), "{error}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "not hex").unwrap();
        let error = Secrets::read_or_create(folder.path()).err().unwrap().to_string();
        assert!(error.contains("relay.secret") && error.contains("backup"), "{error}");
    }
}
