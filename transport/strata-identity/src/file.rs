//! Private keys on disk: PKCS#8 PEM (RFC 8410), mode 0600, as OpenSSL reads and writes them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};

use crate::KeyPair;

/// What can go wrong with a private key's file; each names the file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file could not be read.
    #[error("cannot read the private key {path}")]
    Read {
        /// The key file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file could not be written; an existing one was left as it was.
    #[error("cannot write the private key {path}")]
    Write {
        /// The key file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the file.
    #[error("the private key {path} may be read by others (mode {mode:04o}): run `chmod 600 {path}`")]
    Permissions {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is not an Ed25519 key in PKCS#8 PEM.
    #[error("{path} is not an Ed25519 private key in PKCS#8 PEM, as `strata-bond keygen` writes it")]
    Format {
        /// The key file.
        path: PathBuf,
    },
}

impl KeyPair {
    /// Reads a private key; refuses a file that others than its owner may read.
    ///
    /// # Errors
    /// [`KeyFileError`] names the file and what to do.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let read = |source| KeyFileError::Read { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Permissions { path: path.to_owned(), mode });
        }
        let pem = fs::read_to_string(path).map_err(read)?;
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|_| KeyFileError::Format { path: path.to_owned() })?;
        Ok(Self::from_signing_key(key))
    }

    /// Writes the private key with mode 0600. Never overwrites: an existing file is an error.
    ///
    /// # Errors
    /// [`KeyFileError::Write`] names the file.
    ///
    /// # Panics
    /// Never: an Ed25519 key always has a PEM form.
    pub fn write_new(&self, path: &Path) -> Result<(), KeyFileError> {
        let pem = self.signing_key().to_pkcs8_pem(LineEnding::LF).expect("an Ed25519 key has a PEM form");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
            if let Err(error) = written {
                fs::remove_file(path)?;
                return Err(error);
            }
            sync_folder(path)
        };
        write().map_err(|source| KeyFileError::Write { path: path.to_owned(), source })
    }

    /// Reads the key at `path`, or makes and writes one where there is none.
    ///
    /// # Errors
    /// [`KeyFileError`]; a file that exists but cannot be used is never replaced.
    pub fn read_or_create(path: &Path) -> Result<Self, KeyFileError> {
        match Self::read(path) {
            Err(KeyFileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let key = Self::generate();
                key.write_new(path)?;
                Ok(key)
            }
            other => other,
        }
    }
}

/// Makes the new name durable, so that a power cut does not lose the key.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_key_is_private_and_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.key");
        let key = KeyPair::read_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeyPair::read_or_create(&path).unwrap().public(), key.public());
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(KeyPair::generate().write_new(&path), Err(KeyFileError::Write { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        KeyPair::generate().write_new(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = KeyPair::read(&path).unwrap_err().to_string();
        assert!(message.contains("chmod 600") && message.contains("0644"), "{message}");
    }

    #[test]
    fn garbage_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(KeyPair::read(&path), Err(KeyFileError::Format { .. })));
    }
}
