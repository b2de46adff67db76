//! The command line.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use strata_fleet::Role;
use strata_fleet::admin::{AddUser, add_user, list_users};

use crate::config::{Config, PortRange};
use crate::{serve, session};

/// The relay of Strata: takes streams from devices and brings them to viewers.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the relay.
    Serve(Settings),
    /// Keep users; the relay may run meanwhile.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Check the configuration and exit.
    CheckConfig(Settings),
    /// Become a program in a session of its own (for the relay itself).
    #[command(name = session::SUBCOMMAND, hide = true)]
    RunInSession {
        /// The program.
        program: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add a user, and its owner where there is none of that name.
    Add {
        #[command(flatten)]
        settings: Settings,
        /// E-mail address.
        #[arg(long)]
        email: String,
        /// admin, operator or viewer.
        #[arg(long)]
        role: Role,
        /// Name of the owner, whose devices and streams the user sees.
        #[arg(long)]
        owner: String,
        /// Read the password from standard input; otherwise one is made and printed.
        #[arg(long)]
        password_stdin: bool,
    },
    /// List all users.
    List(Settings),
}

/// Where the configuration comes from; flags go before the file.
#[derive(Debug, Args)]
struct Settings {
    /// Configuration file (TOML); the defaults without one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Database, secrets and HLS files.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where pages, REST and agents' socket are served.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The workers' sockets.
    #[arg(long, value_name = "DIR")]
    run_dir: Option<PathBuf>,
    /// The workers' logs.
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// UDP ports for workers.
    #[arg(long, value_name = "FIRST-LAST")]
    worker_ports: Option<PortRange>,
    /// Host name or address that devices send media to.
    #[arg(long, value_name = "HOST")]
    public_host: Option<String>,
}

impl Settings {
    fn config(self) -> anyhow::Result<Config> {
        let file = Config::read(self.config.as_deref())?;
        Ok(Config {
            data_dir: self.data.unwrap_or(file.data_dir),
            listen: self.listen.unwrap_or(file.listen),
            run_dir: self.run_dir.or(file.run_dir),
            log_dir: self.log_dir.or(file.log_dir),
            worker_ports: self.worker_ports.unwrap_or(file.worker_ports),
            public_host: self.public_host.or(file.public_host),
            ..file
        })
    }
}

/// Does what was asked for.
///
/// # Errors
/// Says what failed, with which value or file.
pub fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Serve(settings) => serve::run(settings.config()?),
        Command::User { command: UserCommand::Add { settings, email, role, owner, password_stdin } } => {
            let password = if password_stdin { read_password()? } else { made_up_password()? };
            let add = AddUser { email: email.clone(), password: password.clone(), role, owner: owner.clone() };
            let config = settings.config()?.fleet()?;
            serve::block_on(async { add_user(&config, add).await.context("the user was not added") })??;
            say(&format!("{email} added as {role} of {owner}"))?;
            if !password_stdin {
                say(&format!("password: {}", password.expose_secret()))?;
            }
            Ok(())
        }
        Command::User { command: UserCommand::List(settings) } => {
            let config = settings.config()?.fleet()?;
            for user in serve::block_on(list_users(&config))?? {
                let seen = user.last_login_at.map_or_else(|| "never logged in".to_owned(), |at| at.to_string());
                say(&format!("{}\t{}\t{}\t{seen}", user.email, user.role, user.owner))?;
            }
            Ok(())
        }
        Command::CheckConfig(settings) => {
            let config = settings.config()?;
            config.check()?;
            say(&format!("the configuration is good: data in {}", config.data_dir.display()))
        }
        Command::RunInSession { program } => session::become_program(&program),
    }
}

fn read_password() -> anyhow::Result<SecretString> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read the password from standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned().into())
}

/// 120 random bits.
fn made_up_password() -> anyhow::Result<SecretString> {
    let mut bytes = [0u8; 15];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers for a password: {error}"))?;
    Ok(hex::encode(bytes).into())
}

fn say(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("cannot write to standard output")
}
