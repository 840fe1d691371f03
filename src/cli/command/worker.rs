//! `arbiter worker` and `arbiter rebuild`: the two commands that speak to a Temporal server themselves.

use crate::app;
use crate::bridge::{self, NOT_RESTORED, WorkerOptions};
use crate::cli::client::data_directory;
use crate::cli::command::serve::{Overrides, config_file, environment};
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::note;
use crate::cli::ui::password;
use crate::config::Settings;
use arbiter_core::kernel::time::Timestamp;
use clap::Args;
use secrecy::SecretString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The options of a process that reads the key file and connects to the Temporal server.
#[derive(Debug, Args)]
struct WorkerHome {
    /// The directory of the key file; else $XDG_DATA_HOME/arbiter, else ~/.local/share/arbiter
    #[arg(long, env = "ARBITER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file; else arbiter.toml in the data directory, if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the key file's password: mode 0600, owned by this user, outside the data directory
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
}

impl WorkerHome {
    fn open(&self) -> Result<(PathBuf, Settings, SecretString), Failure> {
        let data_dir = data_directory::resolve(self.data_dir.as_deref())?;
        let file = config_file(self.config.as_deref(), &data_dir);
        let loaded = Settings::load(file.as_deref(), environment(), &self.overrides.flags())?;
        app::lock_memory(&loaded.settings.vault)?;
        app::start_logging(&loaded.settings.log);
        if !data_dir.join(data_directory::VAULT_FILE).exists() {
            let path = data_dir.join(data_directory::VAULT_FILE);
            return Err(Failure::Refused(format!("there is no key file {}", path.display())));
        }
        let Some(password) = password::find(self.password_file.as_deref(), &data_dir)? else {
            let text = "no password was given: use --password-file, ARBITER_PASSWORD or a systemd credential";
            return Err(Failure::Refused(text.to_owned()));
        };
        Ok((data_dir, loaded.settings, password.text))
    }
}

/// The arguments of `worker`.
#[derive(Debug, Args)]
pub struct Worker {
    #[command(flatten)]
    home: WorkerHome,
}

impl Worker {
    /// Makes calls to providers until it is asked to end.
    pub fn run(self) -> Result<(), Failure> {
        let (data_dir, settings, password) = self.home.open()?;
        let runtime = app::runtime()?;
        let outcome = runtime.block_on(async {
            let end = app::shutdown_signal()?;
            let calls = app::actor_settings(&settings);
            let options = WorkerOptions { data_dir, settings, calls, password };
            Ok(bridge::run_worker(options, end, app::print_line).await?)
        });
        runtime.shutdown_background();
        outcome
    }
}

/// The arguments of `rebuild`.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Fill the data directory from the workflows at the Temporal server
    #[arg(long, required = true)]
    from_temporal: bool,
    #[command(flatten)]
    home: WorkerHome,
}

impl Rebuild {
    /// Fills an empty data directory and reports what was restored and what could not be.
    pub fn run(self) -> Result<(), Failure> {
        let (data_dir, settings, password) = self.home.open()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap_or(i64::MAX));
        let runtime = app::runtime()?;
        let outcome = runtime.block_on(bridge::rebuild(&data_dir, &settings, password, now, note));
        runtime.shutdown_background();
        let rebuilt = outcome?;
        for (kind, count) in &rebuilt.restored {
            app::print_line(&format!("{kind}: {count} restored"));
        }
        for lost in &rebuilt.lost {
            app::print_line(&format!("not restored: {lost}"));
        }
        app::print_line("not mirrored, and so not restored:");
        NOT_RESTORED.iter().for_each(|what| app::print_line(&format!("  {what}")));
        Ok(())
    }
}
