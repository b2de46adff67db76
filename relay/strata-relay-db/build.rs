//! Builds again when a migration is added: `sqlx::migrate!` reads the folder at compile time.

fn main() {
    #[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
    {
        println!("cargo::rerun-if-changed=migrations");
    }
}
