//! `arbiter serve`: reads settings and password, then runs the server until a signal stops it.

use crate::app;
use crate::cli::client::data_directory;
use crate::cli::ui::failure::Failure;
use crate::cli::ui::password;
use crate::config::{Flag, LogFormat, Settings};
use clap::Args;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// The arguments of `serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The data directory; else $XDG_DATA_HOME/arbiter, else ~/.local/share/arbiter
    #[arg(long, env = "ARBITER_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The configuration file; else arbiter.toml in the data directory, if there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with the vault's password: mode 0600, owned by this user, outside the data directory
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    tls: Tls,
    /// Require no token; accepted on a loopback address only
    #[arg(long)]
    no_auth: bool,
}

/// The files that TLS is spoken with.
#[derive(Debug, Args)]
struct Tls {
    /// Speak TLS with this certificate: PEM, with its chain
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The private key of that certificate: PEM, mode 0600
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Authenticate clients by certificates of this CA: PEM
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<String>,
}

impl Tls {
    fn flags(&self) -> impl Iterator<Item = Flag> {
        let flag = |name, key, given: &Option<String>| given.clone().map(|value| Flag { name, key, value });
        let flags = [
            flag("--tls-cert", "http.tls_cert", &self.tls_cert),
            flag("--tls-key", "http.tls_key", &self.tls_key),
            flag("--tls-client-ca", "http.tls_client_ca", &self.tls_client_ca),
        ];
        flags.into_iter().flatten()
    }
}

/// Flags that stand for settings.
#[derive(Debug, Args)]
pub struct Overrides {
    /// The address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen_address)]
    listen: Option<SocketAddr>,
    /// Mirror the state at this Temporal server
    #[arg(long, value_name = "HOST[:7233]")]
    temporal: Option<String>,
    /// The namespace there
    #[arg(long, value_name = "NAME")]
    temporal_namespace: Option<String>,
    /// The log format: for people (text) or for programs (json)
    #[arg(long, value_parser = log_format, value_name = "text|json")]
    log_format: Option<LogFormat>,
}

impl Overrides {
    /// The flags that were given.
    pub fn flags(&self) -> Vec<Flag> {
        let listen = self.listen.map(|address| Flag {
            name: "--listen",
            key: "http.listen",
            value: address.to_string(),
        });
        let log_format = self.log_format.map(|format| Flag {
            name: "--log-format",
            key: "log.format",
            value: match format {
                LogFormat::Text => "text".to_owned(),
                LogFormat::Json => "json".to_owned(),
            },
        });
        let given = |name, key, value: &Option<String>| value.clone().map(|value| Flag { name, key, value });
        let temporal = given("--temporal", "temporal.address", &self.temporal);
        let namespace = given("--temporal-namespace", "temporal.namespace", &self.temporal_namespace);
        listen.into_iter().chain(log_format).chain(temporal).chain(namespace).collect()
    }
}

impl Serve {
    /// Runs the server; returns when it has stopped.
    pub fn run(self) -> Result<(), Failure> {
        let data_dir = data_directory::resolve(self.data_dir.as_deref())?;
        let file = config_file(self.config.as_deref(), &data_dir);
        let loaded = Settings::load(file.as_deref(), environment(), &self.flags())?;
        app::lock_memory(&loaded.settings.vault)?;
        let password = password::find(self.password_file.as_deref(), &data_dir)?;
        Ok(app::serve(app::ServeOptions { data_dir, loaded, password })?)
    }

    fn flags(&self) -> Vec<Flag> {
        let mut flags = self.overrides.flags();
        flags.extend(self.tls.flags());
        if self.no_auth {
            let value = "off".to_owned();
            flags.push(Flag { name: "--no-auth", key: "http.auth", value });
        }
        flags
    }
}

/// The configuration file: the one given, else `arbiter.toml` in the data directory if it is there.
pub fn config_file(given: Option<&Path>, data_dir: &Path) -> Option<PathBuf> {
    let own = data_dir.join(data_directory::CONFIG_FILE);
    given.map(Path::to_owned).or_else(|| own.exists().then_some(own))
}

/// Returns the environment variables whose names and values are UTF-8; settings are.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Reads an address and a port; `localhost` is the IPv4 loopback address.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}").parse(),
        None => text.parse(),
    };
    address
        .map_err(|_| "it is an IP address or localhost, and a port, as 127.0.0.1:8080 or [::1]:0".to_owned())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is text or json".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Authentication;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        serve: Serve,
    }

    fn settings(line: &str) -> crate::config::Loaded {
        let serve = Line::try_parse_from(line.split(' ')).unwrap().serve;
        Settings::load(None, [], &serve.flags()).unwrap()
    }

    #[test]
    fn serve_flags_become_settings_with_their_source() {
        let loaded = settings("serve --listen 127.0.0.1:0 --no-auth --log-format json");
        assert_eq!(loaded.settings.http.listen.port(), 0);
        assert_eq!(loaded.settings.http.auth, Authentication::Off);
        assert_eq!(loaded.settings.log.format, LogFormat::Json);
        assert_eq!(loaded.sources["http.auth"].to_string(), "flag --no-auth");
        assert_eq!(loaded.sources["http.listen"].to_string(), "flag --listen");
    }

    #[test]
    fn serve_has_flags_for_tls_files() {
        let loaded = settings("serve --tls-cert c.pem --tls-key k.pem --tls-client-ca ca.pem");
        let files = loaded.settings.http.tls().unwrap();
        assert_eq!((files.key.to_str(), files.client_ca), (Some("k.pem"), Some("ca.pem".into())));
        assert_eq!(loaded.sources["http.tls_cert"].to_string(), "flag --tls-cert");
    }

    #[test]
    fn serve_with_invalid_address_or_format_is_a_usage_error() {
        let local = Line::try_parse_from(["serve", "--listen", "localhost:0"]).unwrap().serve;
        assert_eq!(local.overrides.listen, Some(SocketAddr::from(([127, 0, 0, 1], 0))));
        for line in [
            "serve --listen 8080",
            "serve --listen example.com:0",
            "serve --listen localhost:x",
            "serve --log-format loud",
        ] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn config_file_in_data_directory_is_the_default() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(config_file(None, directory.path()), None);
        let own = directory.path().join("arbiter.toml");
        std::fs::write(&own, "").unwrap();
        assert_eq!(config_file(None, directory.path()), Some(own));
        let given = Path::new("other.toml");
        assert_eq!(config_file(Some(given), directory.path()), Some(given.to_owned()));
    }
}
