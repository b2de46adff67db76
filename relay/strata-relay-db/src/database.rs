use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};

use crate::error::failed;
use crate::{DbError, SealKey};

/// Readers beside one writer; each holds a thread and a page cache, so few.
const CONNECTIONS: u32 = 3;
/// How long a writer waits for another.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The relay's database: cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: SqlitePool,
    seal: SealKey,
}

impl Database {
    /// Opens the file, makes it where there is none, and brings its tables up to date.
    ///
    /// # Errors
    /// [`DbError::Open`] and [`DbError::Migrate`] name the file.
    pub async fn open(path: &Path, seal: SealKey) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode a power cut may undo the last transactions, but never corrupts.
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("cache_size", "-1000");
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(|source| DbError::Open { path: path.to_owned(), source })?;
        sqlx::migrate!().run(&pool).await.map_err(|source| DbError::Migrate { path: path.to_owned(), source })?;
        Ok(Self { pool, seal })
    }

    /// Writes out what is buffered and closes the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), DbError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map_err(failed("answer"))?;
        Ok(())
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) fn seal_key(&self) -> &SealKey {
        &self.seal
    }

    /// A transaction that writes: it takes the write lock first, so that it never fails half-way for it.
    pub(crate) async fn write(&self, what: &'static str) -> Result<Transaction<'static, Sqlite>, DbError> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed(what))
    }
}
