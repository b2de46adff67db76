use std::path::PathBuf;

/// What can go wrong with the storage.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// The database file cannot be opened or made.
    #[error("cannot open the database {path}: check the folder's permissions and the disk")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// The tables cannot be brought up to date.
    #[error("cannot bring the tables of {path} up to date: was it written by a newer relay?")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A query failed.
    #[error("the database failed to {what}")]
    Query {
        /// What was asked of it.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A stored value cannot be read back.
    #[error("the stored {what} “{value}” cannot be read: the database was changed by something else")]
    Stored {
        /// Which value.
        what: &'static str,
        /// What is stored.
        value: String,
    },
    /// Something of that name is there already.
    #[error("there is a {what} “{value}” already")]
    Taken {
        /// What.
        what: &'static str,
        /// Its name.
        value: String,
    },
    /// A sealed value does not open with this relay's seal key.
    #[error("the stored key of destination {id} does not open with this relay's seal key: set it again")]
    Unseal {
        /// The destination.
        id: String,
    },
    /// A value has no JSON form.
    #[error("the {what} has no JSON form")]
    Json {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// Names the step that a query was for.
pub(crate) fn failed(what: &'static str) -> impl FnOnce(sqlx::Error) -> DbError {
    move |source| DbError::Query { what, source }
}

/// Like [`failed`], and tells a value that is taken from every other failure.
pub(crate) fn failed_or_taken(
    what: &'static str,
    thing: &'static str,
    value: &str,
) -> impl FnOnce(sqlx::Error) -> DbError {
    let value = value.to_owned();
    move |source| match source.as_database_error() {
        Some(error) if error.is_unique_violation() => DbError::Taken { what: thing, value },
        _ => DbError::Query { what, source },
    }
}
