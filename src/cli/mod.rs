//! The command line: parses flags, loads the configuration, starts logging, runs the command
//! and returns an exit code.

mod backup;
mod dead_letters;
mod demo;
mod health;
mod help;
mod inspect;
mod key;
mod produce;
mod pulse;
mod serve;
mod verify;

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{NonEmptyStringValueParser, OsStringValueParser, TypedValueParser};
use clap::{Parser, Subcommand};

use crate::api::{self, key::SCOPE_NAMES};
use crate::config::{self, Config, PROJECT_ID_MAX};
use crate::logging;

/// The command did what it was asked for.
pub const EXIT_DONE: u8 = 0;
/// The command failed.
pub const EXIT_FAILED: u8 = 1;
/// The configuration cannot be used; nothing was opened or bound. (clap exits with 2 on wrong usage.)
pub const EXIT_CONFIGURATION: u8 = 78;

/// A materialized view of persons from Kafka: who they are now, and who they were at any moment.
#[derive(Debug, Parser)]
#[command(name = "personview", version, after_help = help::EXAMPLES)]
struct Cli {
    /// Configuration file; it overrides the defaults, and PERSONVIEW_* variables override it
    #[arg(long, global = true, value_name = "FILE", env = config::FILE_VARIABLE)]
    #[arg(value_parser = OsStringValueParser::new().try_map(file_name))]
    config: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Keep the view up to date and answer requests, until SIGTERM or SIGINT
    Serve {
        /// Continue at the earliest record in Kafka if records not yet read have expired; they stay missing
        #[arg(long)]
        accept_gap: bool,
    },

    /// Run the whole pipeline with sample events, on a Kafka broker inside this process
    Demo,

    /// Send capture events from a file to the first configured topic
    #[command(after_help = help::PRODUCE_EXAMPLES)]
    Produce {
        /// File with one JSON event per line, or - for standard input
        file: String,
    },

    /// Create API keys
    #[command(subcommand)]
    Key(KeyCommand),

    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Inspect the contents of the store, even while a server runs on it
    #[command(subcommand)]
    Inspect(InspectCommand),

    /// Check that the store is consistent, even while a server runs on it
    #[command(after_help = help::VERIFY_HELP)]
    Verify,

    /// Back up the store to a folder, even while a server runs on it
    #[command(after_help = help::BACKUP_HELP)]
    Backup(backup::BackupArguments),

    /// Restore the store from a backup; there must be no store yet
    #[command(after_help = help::RESTORE_HELP)]
    Restore(backup::RestoreArguments),

    /// List records that could not be used, or send them again
    #[command(subcommand)]
    DeadLetters(dead_letters::Command),

    /// Ask the server at the configured address whether it is ready
    Health,

    /// Print the OpenAPI document of the HTTP API, as /openapi.json serves it
    #[command(name = "openapi")]
    OpenApi,
}

#[derive(Debug, Subcommand)]
enum InspectCommand {
    /// Show one person: its identity, distinct ids and properties, and its timeline
    #[command(after_help = help::INSPECT_EXAMPLES)]
    Person(inspect::Arguments),
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Create a key; print its table for the configuration file, and the key itself to standard error
    #[command(after_help = help::KEY_CREATE_EXAMPLES)]
    Create {
        /// Name for the key's user; the activity log shows it as the author
        #[arg(long, value_parser = NonEmptyStringValueParser::new())]
        label: String,
        /// What the key may do; `:write` includes `:read`, '*' (in quotes) allows everything
        #[arg(long = "scope", required = true, num_args = 1.., value_delimiter = ',')]
        #[arg(value_name = "SCOPE", value_parser = SCOPE_NAMES)]
        scopes: Vec<String>,
        /// Ids of the projects that the key may access
        #[arg(long = "project", required = true, num_args = 1.., value_delimiter = ',')]
        #[arg(value_name = "ID", value_parser = clap::value_parser!(u32).range(1..=PROJECT_ID_MAX.into()))]
        projects: Vec<u32>,
        /// Maximum number of requests per minute; unlimited by default
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        requests_per_minute: Option<u32>,
    },

    /// Print the hash of the key given on standard input
    #[command(after_help = help::KEY_HASH_EXAMPLES)]
    Hash,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check whether the server could start with the configuration, and list everything that is wrong
    Check,
    /// Print the effective configuration as TOML, without secrets
    Show,
}

/// Refuses an empty name, which most often comes from a variable that was to be filled.
fn file_name(name: OsString) -> Result<PathBuf, String> {
    if name.is_empty() {
        return Err(format!("it is empty; name a file, or unset {}", config::FILE_VARIABLE));
    }
    Ok(name.into())
}

/// Runs the command given by the process's arguments. Errors are printed to standard error.
///
/// Wrong usage, `--help` and `--version` end the process here.
#[must_use]
pub fn run() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::from(EXIT_DONE),
        Err(error) => {
            eprintln!("personview: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<()> {
    let file = cli.config;
    let load = move || Config::load(file.as_deref(), environment());
    // Also starts logging, for commands that log what they do.
    let logged = || -> anyhow::Result<Config> {
        let config = load()?;
        logging::start()?;
        Ok(config)
    };
    let mut output = io::stdout();
    match cli.command {
        Command::Serve { accept_gap } => serve::run(accept_gap, load),
        Command::Demo => demo::run(logged()?),
        Command::Produce { file } => produce::run(&logged()?, &file),
        Command::Key(KeyCommand::Create { label, scopes, projects, requests_per_minute }) => {
            let wanted = config::ApiKey {
                label,
                sha256: String::new(),
                scopes,
                projects,
                requests_per_minute,
            };
            key::create(wanted, &mut output, &mut io::stderr())
        }
        Command::Key(KeyCommand::Hash) => key::hash(io::stdin().lock(), &mut output),
        Command::Config(ConfigCommand::Check) => {
            let config = load()?;
            config.check_start()?;
            writeln!(output, "The configuration can be used.")?;
            config.notes().iter().try_for_each(|note| Ok(writeln!(output, "Note: {note}")?))
        }
        Command::Config(ConfigCommand::Show) => Ok(write!(output, "{}", load()?.show())?),
        Command::Inspect(InspectCommand::Person(asked)) => {
            inspect::person(&load()?, &asked, &mut output)
        }
        Command::Verify => verify::run(&logged()?, &mut output),
        Command::Backup(wanted) => backup::back_up(&logged()?, &wanted, &mut output),
        Command::Restore(from) => backup::restore(&logged()?, &from, &mut output),
        Command::DeadLetters(command) => dead_letters::run(&logged()?, &command, &mut output),
        Command::Health => health::run(&load()?, &mut output),
        Command::OpenApi => Ok(writeln!(output, "{}", api::openapi())?),
    }
}

/// Returns the process's environment. Variables whose name is not valid UTF-8 are not ours and are skipped.
/// Invalid UTF-8 in a value is replaced, so that the value is reported as wrong instead of being ignored.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| {
        Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
    })
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<config::Error>() || error.is::<logging::Error>() {
        EXIT_CONFIGURATION
    } else {
        EXIT_FAILED
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(arguments: &str) -> Result<Cli, ErrorKind> {
        let arguments = arguments.split_whitespace();
        Cli::try_parse_from(arguments).map_err(|error| error.kind())
    }

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_file_may_stand_before_or_after_the_command() {
        for arguments in ["personview --config a serve", "personview serve --config a"] {
            let cli = parse(arguments).expect(arguments);
            assert_eq!(cli.config, Some(PathBuf::from("a")));
        }
    }

    #[test]
    fn an_empty_file_name_is_wrong_usage_that_names_the_variable() {
        let error = Cli::try_parse_from(["personview", "--config", "", "serve"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        assert!(error.to_string().contains("unset PERSONVIEW_CONFIG"), "{error}");
    }

    #[test]
    fn scopes_and_projects_may_be_repeated_listed_or_separated_by_commas() {
        for arguments in [
            "--scope person:read --scope project:read --project 1 --project 2",
            "--scope person:read project:read --project 1 2",
            "--scope person:read,project:read --project 1,2",
        ] {
            let cli = parse(&format!("personview key create --label l {arguments}"));
            let Command::Key(KeyCommand::Create { scopes, projects, .. }) =
                cli.expect(arguments).command
            else {
                panic!("{arguments}");
            };
            assert_eq!(scopes, ["person:read", "project:read"]);
            assert_eq!(projects, [1, 2]);
        }
    }

    #[test]
    fn commands_that_make_no_sense_are_wrong_usage() {
        for (arguments, kind) in [
            ("personview", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("personview serve now", ErrorKind::UnknownArgument),
            ("personview produce", ErrorKind::MissingRequiredArgument),
            ("personview key create --label l --scope s --project 1", ErrorKind::InvalidValue),
            ("personview dead-letters list --reason not_jsn", ErrorKind::InvalidValue),
            ("personview dead-letters replay --reason unknown_token", ErrorKind::InvalidValue),
            ("personview inspect person --project 1", ErrorKind::MissingRequiredArgument),
            (
                "personview inspect person --project 1 --id 1 --distinct-id a",
                ErrorKind::ArgumentConflict,
            ),
            ("personview inspect person --project 1 --id x", ErrorKind::ValueValidation),
            ("personview key create --label l --scope * --project 0", ErrorKind::ValueValidation),
            ("personview key create --label l --scope *", ErrorKind::MissingRequiredArgument),
        ] {
            assert_eq!(parse(arguments).expect_err(arguments), kind, "{arguments}");
        }
    }

    #[test]
    fn a_bad_configuration_has_its_own_exit_code() {
        let missing = Config::load(Some("/does/not/exist".as_ref()), std::iter::empty());
        let error = anyhow::Error::from(missing.expect_err("no file")).context("while starting");
        assert_eq!(exit_code(&error), EXIT_CONFIGURATION);
        assert_eq!(exit_code(&anyhow::anyhow!("anything else")), EXIT_FAILED);
    }
}
