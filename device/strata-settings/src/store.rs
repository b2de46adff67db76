//! The settings file: read with a way out of every damage, replaced so that a power cut leaves the old or the new one.
//!
//! `settings.json.old` is the file before the last change, used when the file itself is damaged or gone. A damaged file
//! is kept as `settings.json.damaged-N`, and what happened becomes the document's notice. Invariant: once there was a
//! readable settings file, one of the two is readable at every moment.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::document::Document;
use crate::schema::Schema;

/// More is no settings file.
const MAX_BYTES: u64 = 1 << 20;
/// Damaged files that are kept; the last one is replaced by newer ones.
const MAX_DAMAGED: u32 = 9;

/// What the store needs of a file system; a test puts a recorder in its place.
pub trait Disk {
    /// A file's content.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether something is there.
    fn exists(&self, path: &Path) -> bool;
    /// Makes a folder unless it is there.
    fn make_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Writes a whole file and waits until its content is on the medium.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Replaces `to` by `from`.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// A second name for a file.
    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder are on the medium.
    fn sync_folder(&mut self, path: &Path) -> io::Result<()>;
}

/// The real one.
#[derive(Clone, Copy, Debug)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn exists(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    fn make_folder(&mut self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        fs::create_dir(path)?;
        path.parent().map_or(Ok(()), |above| self.sync_folder(above))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn sync_folder(&mut self, path: &Path) -> io::Result<()> {
        File::open(if path.as_os_str().is_empty() { Path::new(".") } else { path })?.sync_all()
    }
}

/// A change that could not be stored; the file is as it was.
#[derive(Debug, Error)]
#[error("cannot store the settings in {path}: {source}; is the data partition mounted, writable and not full?")]
pub struct SaveError {
    path: PathBuf,
    source: io::Error,
}

/// The settings as this image understands them.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// Of the schema's version.
    pub document: Document,
    /// The version that the file had; none where there was no usable one.
    pub found: Option<u32>,
    /// Whether the file differs from `document`.
    pub unsaved: bool,
    /// What is wrong with the files, when this was not known before.
    pub news: Option<String>,
    /// The file's content, if usable: it becomes the one before.
    previous: Option<Vec<u8>>,
    /// Where the damaged file goes.
    aside: Option<PathBuf>,
}

/// One settings file and those beside it.
#[derive(Debug)]
pub struct Store<D> {
    disk: D,
    path: PathBuf,
}

/// What one file turned out to be.
enum Found {
    Missing,
    Damaged(String),
    Usable { document: Document, version: u32, same: bool, bytes: Vec<u8> },
}

impl<D: Disk> Store<D> {
    /// The store of the settings file `path`.
    pub fn new(disk: D, path: PathBuf) -> Self {
        Self { disk, path }
    }

    /// What it stores on.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    /// The settings, brought to the schema's version. Changes nothing on disk. Never fails: without a usable file
    /// all is at its default.
    pub fn load(&self, schema: &Schema) -> Loaded {
        let why = match self.look_at(&self.path, schema) {
            Found::Usable { document, version, same, bytes } => {
                let (found, previous) = (Some(version), Some(bytes));
                return Loaded { document, found, unsaved: !same, news: None, previous, aside: None };
            }
            Found::Missing => None,
            Found::Damaged(why) => Some(why),
        };
        let before = self.look_at(&self.beside(".old"), schema);
        let nothing_ever = || !self.disk.exists(&self.damaged(1));
        let first_start = why.is_none() && matches!(before, Found::Missing) && nothing_ever();
        let aside = why.is_some().then(|| self.name_for_damaged());
        let (mut document, found, instead) = match before {
            Found::Usable { document, version, .. } => {
                (document, Some(version), "those before the last change are in force".to_owned())
            }
            Found::Missing => (Document::new(&schema.steps), None, "all settings are at their defaults".to_owned()),
            Found::Damaged(why) => (
                Document::new(&schema.steps),
                None,
                format!("the file before the last change was damaged too ({why}): all settings are at their defaults"),
            ),
        };
        let news = (!first_start).then(|| {
            let what = match (&why, aside.as_ref().and_then(|path| path.file_name())) {
                (Some(why), Some(name)) => format!("was damaged ({why}) and is kept as {}", name.display()),
                _ => "was missing".to_owned(),
            };
            format!("The settings file {what}; {instead}. Check the settings with `strata-settings list`")
        });
        if news.is_some() {
            document.notice.clone_from(&news);
        }
        Loaded { document, found, unsaved: true, news, previous: None, aside }
    }

    /// Stores `document`, which came from `loaded`.
    ///
    /// # Errors
    /// What could not be written; the settings are those before or these, whole.
    pub fn save(&mut self, loaded: &Loaded, document: &Document) -> Result<(), SaveError> {
        self.replace_all(loaded, document).map_err(|source| SaveError { path: self.path.clone(), source })
    }

    fn replace_all(&mut self, loaded: &Loaded, document: &Document) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(document)?;
        bytes.push(b'\n');
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        if !folder.as_os_str().is_empty() {
            self.disk.make_folder(&folder)?;
        }
        if let Some(previous) = &loaded.previous {
            self.replace(&self.beside(".old"), previous)?;
        }
        if let Some(aside) = &loaded.aside
            && self.disk.link(&self.path, aside).is_err()
        {
            // Replacing the last of too many, or something that is no file.
            self.disk.rename(&self.path, aside)?;
        }
        let path = self.path.clone();
        self.replace(&path, &bytes)?;
        self.disk.sync_folder(&folder)
    }

    fn replace(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let new = self.beside(".new");
        self.disk.write(&new, bytes)?;
        self.disk.rename(&new, path)
    }

    fn look_at(&self, path: &Path, schema: &Schema) -> Found {
        let bytes = match self.disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Found::Missing;
            }
            Err(error) => return Found::Damaged(format!("it cannot be read: {error}")),
        };
        if bytes.len() as u64 > MAX_BYTES {
            return Found::Damaged(format!("it is larger than {MAX_BYTES} bytes"));
        }
        let on_disk: Document = match serde_json::from_slice(&bytes) {
            Ok(document) => document,
            Err(error) => return Found::Damaged(format!("it is no settings file: {error}")),
        };
        let mut document = on_disk.clone();
        match document.migrate(&schema.steps) {
            Ok(()) => Found::Usable { same: document == on_disk, version: on_disk.version, document, bytes },
            Err(error) => Found::Damaged(error.to_string()),
        }
    }

    fn damaged(&self, number: u32) -> PathBuf {
        self.beside(&format!(".damaged-{number}"))
    }

    fn name_for_damaged(&self) -> PathBuf {
        let free = (1..MAX_DAMAGED).find(|number| !self.disk.exists(&self.damaged(*number)));
        self.damaged(free.unwrap_or(MAX_DAMAGED))
    }
}
