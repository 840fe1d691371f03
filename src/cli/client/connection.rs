//! Finds the server of a client command and the credentials for it.
//!
//! Owns the flags every client command takes, and the rule that a token written for the local server
//! is sent to that server and to no other.

use crate::cli::client::data_directory;
use crate::cli::client::trust::{TlsFlags, Trust};
use crate::cli::ui::failure::Failure;
use crate::cli::ui::output::{self, OutputFormat};
use arbiter_files::{Directory, ForeignFile, open_foreign};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use std::{
    io,
    path::{Path, PathBuf},
};
use url::Url;

/// The largest file of a server in its data directory, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The flags of every client command.
#[derive(Clone, Debug, Args)]
pub struct Connection {
    /// The server's address; else the local server's
    #[arg(long, env = "ARBITER_URL", global = true, help_heading = "Server", value_name = "URL")]
    url: Option<String>,
    /// The API token; else the local server's admin token
    #[arg(long, env = "ARBITER_TOKEN", hide_env_values = true, global = true, help_heading = "Server")]
    token: Option<Token>,
    /// The local server's data directory
    #[arg(long, env = "ARBITER_DATA_DIR", global = true, help_heading = "Server", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFlags,
    /// Print the API's JSON
    #[arg(long, global = true)]
    json: bool,
}

/// A token that is redacted in debug output.
#[derive(Clone, Debug)]
struct Token(SecretString);

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self(SecretString::from(text.trim()))
    }
}

/// A server and the credentials for it.
#[derive(Clone, Debug)]
pub struct Target {
    pub url: Url,
    /// The token to send, if there is one.
    pub token: Option<SecretString>,
    /// Its TLS settings.
    pub trust: Trust,
}

/// The files that a running server writes to its data directory.
#[derive(Debug, Deserialize)]
struct ServerFile {
    url: String,
    #[serde(default)]
    certificate_sha256: Option<String>,
}

/// The local server as it described itself.
struct LocalServer {
    url: Url,
    certificate: Option<String>,
}

impl Connection {
    /// The format of the data on standard output.
    pub fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { OutputFormat::Table }
    }

    /// Asks for JSON on standard output.
    pub fn set_json(&mut self) {
        self.json = true;
    }

    /// Returns whether a flag or the environment names an address.
    pub fn has_server_url(&self) -> bool {
        self.url.as_deref().is_some_and(|url| !url.is_empty())
    }

    /// The data directory.
    pub fn data_directory(&self) -> Result<PathBuf, Failure> {
        data_directory::resolve(self.data_dir.as_deref())
    }

    /// The server that the flags, the environment or the data directory name.
    pub fn target(&self) -> Result<Target, Failure> {
        let given = self.url.as_deref().filter(|text| !text.is_empty()).map(parse).transpose()?;
        let token = self.token.clone().map(|token| token.0);
        let token = token.filter(|token| !token.expose_secret().is_empty());
        let directory = match self.data_directory() {
            Ok(directory) => Some(directory),
            // A foreign server needs no data directory here.
            Err(_) if given.is_some() => None,
            Err(failure) => return Err(failure),
        };
        let local = match directory.as_deref().map(local_server).transpose() {
            Ok(local) => local.flatten(),
            Err(_) if given.is_some() && token.is_some() => None,
            Err(failure) => return Err(failure),
        };
        let url = given.or_else(|| local.as_ref().map(|local| local.url.clone())).ok_or_else(|| {
            let place = directory.as_deref().unwrap_or(Path::new(".")).display();
            Failure::Unreachable(format!(
                "no server runs in {place}: start one with `arbiter serve`, or give --url"
            ))
        })?;
        let local = local.filter(|local| local.url.origin() == url.origin());
        let token = match (token, &local, directory) {
            // A client certificate is meant to authenticate; a token would take precedence over it.
            (None, Some(_), Some(directory)) if !self.tls.has_client_certificate() => {
                let path = directory.join(data_directory::ADMIN_TOKEN_FILE);
                let found = read_optional(&path)?.map(|text| Token::from(text.as_str()).0);
                if found.is_none() {
                    output::note(&format!(
                        "there is no {}; give --token or ARBITER_TOKEN, or stop the server and run `arbiter token reset`",
                        path.display()
                    ));
                }
                found
            }
            (token, ..) => token,
        };
        let trust = self.tls.trust(local.and_then(|local| local.certificate))?;
        Ok(Target { url, token, trust })
    }
}

fn parse(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| Failure::Usage(format!("{text:?} is no URL: {error}")))?;
    if matches!(url.scheme(), "http" | "https") && url.has_host() {
        Ok(url)
    } else {
        Err(Failure::Usage(format!("{text:?} is no http or https URL")))
    }
}

/// Reads the files of the server on this directory; `None` if no server runs there.
fn local_server(directory: &Path) -> Result<Option<LocalServer>, Failure> {
    let path = directory.join(data_directory::SERVER_FILE);
    let Some(text) = read_optional(&path)? else { return Ok(None) };
    let file: ServerFile = serde_json::from_str(&text).map_err(|error| {
        Failure::io(format!("cannot understand {}", path.display()), io::Error::other(error))
    })?;
    Ok(Some(LocalServer { url: parse(&file.url)?, certificate: file.certificate_sha256 }))
}

fn read_optional(path: &Path) -> Result<Option<String>, Failure> {
    // The server writes regular files; a link in their place was made by another program.
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let read = Directory::open(directory)
        .and_then(|directory| open_foreign(&directory, Path::new(name), MAX_FILE_BYTES))
        .and_then(ForeignFile::into_text);
    match read {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(Failure::io(format!("cannot read {}", path.display()), error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn directory_of_a_server() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let server = r#"{"url":"http://127.0.0.1:4100","pid":7}"#;
        fs::write(directory.path().join("server.json"), server).unwrap();
        fs::write(directory.path().join("admin-token"), "local-admin\n").unwrap();
        directory
    }

    fn connection(directory: &Path, url: Option<&str>, token: Option<&str>) -> Connection {
        Connection {
            url: url.map(str::to_owned),
            token: token.map(Token::from),
            data_dir: Some(directory.to_owned()),
            tls: TlsFlags::default(),
            json: false,
        }
    }

    fn found(connection: &Connection) -> (String, Option<String>) {
        let target = connection.target().unwrap();
        let token = target.token.map(|token| token.expose_secret().to_owned());
        (target.url.to_string(), token)
    }

    #[test]
    fn data_directory_provides_server_url_and_token() {
        let directory = directory_of_a_server();
        let local = found(&connection(directory.path(), None, None));
        assert_eq!(local, ("http://127.0.0.1:4100/".to_owned(), Some("local-admin".to_owned())));
        let with_token = found(&connection(directory.path(), None, Some("mine")));
        assert_eq!(with_token.1.as_deref(), Some("mine"));
    }

    #[test]
    fn symlinked_server_file_is_not_followed() {
        let (directory, elsewhere) = (directory_of_a_server(), directory_of_a_server());
        for name in ["admin-token", "server.json"] {
            fs::remove_file(directory.path().join(name)).unwrap();
            std::os::unix::fs::symlink(elsewhere.path().join(name), directory.path().join(name)).unwrap();
            let failure = connection(directory.path(), None, None).target().unwrap_err();
            assert!(failure.to_string().contains(name), "{failure}");
            fs::remove_file(directory.path().join(name)).unwrap();
            fs::copy(elsewhere.path().join(name), directory.path().join(name)).unwrap();
        }
    }

    #[test]
    fn local_token_is_sent_only_to_the_local_server() {
        let directory = directory_of_a_server();
        let same = found(&connection(directory.path(), Some("http://127.0.0.1:4100/"), None));
        assert_eq!(same.1.as_deref(), Some("local-admin"));
        let foreign = found(&connection(directory.path(), Some("http://elsewhere:4100"), None));
        assert_eq!(foreign.1, None);
    }

    #[test]
    fn missing_server_failure_names_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let failure = connection(directory.path(), None, None).target().unwrap_err();
        assert_eq!(failure.exit_code(), 69);
        assert!(failure.to_string().contains(&directory.path().display().to_string()));
    }

    #[test]
    fn connection_debug_hides_the_token() {
        let connection = connection(Path::new("/nowhere"), None, Some("hush-hush"));
        assert!(!format!("{connection:?}").contains("hush"));
    }

    #[test]
    fn invalid_url_is_a_usage_error() {
        for text in ["127.0.0.1:8080", "ftp://h", "nonsense"] {
            assert_eq!(parse(text).unwrap_err().exit_code(), 2, "{text}");
        }
    }
}
