//! The layers as a user meets them.

use super::*;
use crate::config::{Authentication, LogLevel};
use std::io::Write;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn refusal(text: &str, pairs: &[(&str, &str)]) -> String {
    let file = file(text);
    let error = Settings::load(Some(file.path()), environment(pairs), &[]).unwrap_err();
    error.to_string().replace(&file.path().display().to_string(), "FILE")
}

#[test]
fn load_without_layers_gives_defaults_with_their_source() {
    let loaded = Settings::load(None, [], &[]).unwrap();
    assert_eq!(loaded, Settings::built_in());
    assert!(loaded.sources.values().all(|source| *source == Source::Default));
    assert_eq!(loaded.entries().len(), loaded.sources.len());
}

#[test]
fn later_layer_wins_and_value_names_its_source() {
    let file = file("[http]\nlisten = \"127.0.0.1:1\"\nmax_streams = 5\n[store]\nreaders = 2\n");
    let flag = Flag { name: "--listen", key: "http.listen", value: "127.0.0.1:3".to_owned() };
    let loaded = Settings::load(
        Some(file.path()),
        environment(&[
            ("ARBITER_HTTP__LISTEN", "127.0.0.1:2"),
            ("ARBITER_STORE__READERS", "7"),
            ("ARBITER_LOG__TARGETS__EVENT_BUS", "debug"),
            ("ARBITER_DATA_DIR", "/elsewhere"),
        ]),
        &[flag],
    )
    .unwrap();
    assert_eq!(loaded.settings.http.listen.port(), 3);
    assert_eq!(loaded.settings.http.max_streams, 5);
    assert_eq!(loaded.settings.store.readers, 7);
    assert_eq!(loaded.settings.log.targets.event_bus, LogLevel::Debug);
    let source = |key: &str| loaded.sources[key].to_string();
    assert_eq!(source("http.listen"), "flag --listen");
    assert_eq!(source("http.max_streams"), format!("{}:3", file.path().display()));
    assert_eq!(source("store.readers"), "env ARBITER_STORE__READERS");
    assert_eq!(source("log.level"), "default");
}

#[test]
fn unknown_keys_are_listed_with_source_and_nearest_key() {
    let text = refusal("[http]\nlisen = \"x\"\n[stor]\n", &[("ARBITER_LOG__LEVL", "info")]);
    assert_eq!(
        text,
        "unknown key `http.lisen` (FILE:2); did you mean `http.listen`?\n\
         unknown key `stor` (FILE:3); did you mean `store`?\n\
         unknown key `log.levl` (env ARBITER_LOG__LEVL); did you mean `log.level`?"
    );
}

#[test]
fn value_of_wrong_type_names_its_key_and_source() {
    let text = refusal("[store]\nreaders = \"many\"\n", &[]);
    assert!(text.starts_with("`store.readers` (FILE:2): invalid type: found string"), "{text}");
    let text = refusal("", &[("ARBITER_HTTP__LISTEN", "8080")]);
    assert!(text.starts_with("`http.listen` (env ARBITER_HTTP__LISTEN): "), "{text}");
    let text = refusal("", &[("ARBITER_LOG__LEVEL", "loud")]);
    assert!(text.contains("`log.level`") && text.contains("loud"), "{text}");
    let text = refusal("[http]\nallowed_hosts = [\"a\", 3]\n", &[]);
    assert!(text.starts_with("`http.allowed_hosts` (FILE:2): invalid type"), "{text}");
    assert_eq!(refusal("http = 3\n", &[]), "`http` (FILE:1): is a section, not a value");
}

#[test]
fn number_out_of_range_is_refused_with_the_range() {
    let text = refusal("[vault]\nkdf_iterations = 1000\n[dispatch]\nlease_ttl_sec = 5\n", &[]);
    assert_eq!(
        text,
        "`vault.kdf_iterations` (FILE:2): 1000 is not within 100000 to 10000000\n\
         `dispatch.lease_ttl_sec` (FILE:4): 5 is not within 10 to 3600"
    );
}

#[test]
fn authentication_can_be_off_only_on_loopback() {
    let off = ("ARBITER_HTTP__AUTH", "off");
    let loaded = Settings::load(None, environment(&[off]), &[]).unwrap();
    assert_eq!(loaded.settings.http.auth, Authentication::Off);
    let text = refusal("", &[off, ("ARBITER_HTTP__LISTEN", "0.0.0.0:80")]);
    assert!(text.contains("loopback address only"), "{text}");
}

#[test]
fn tls_certificate_and_key_must_be_given_together() {
    let (cert, key) = (("ARBITER_HTTP__TLS_CERT", "/c.pem"), ("ARBITER_HTTP__TLS_KEY", "/k.pem"));
    assert_eq!(
        refusal("[http]\ntls_client_ca = \"/ca.pem\"\n", &[key]),
        "`http.tls_key` (env ARBITER_HTTP__TLS_KEY): needs `http.tls_cert` as well\n\
         `http.tls_client_ca` (FILE:2): needs `http.tls_cert` as well"
    );
    assert!(refusal("", &[cert]).contains("needs `http.tls_key` as well"));
    let files = Settings::load(None, environment(&[cert, key]), &[]).unwrap().settings.http.tls().unwrap();
    assert_eq!((files.certificate.as_path(), files.client_ca), (Path::new("/c.pem"), None));
    assert_eq!(Settings::default().http.tls(), None);
}

#[test]
fn empty_section_is_accepted() {
    let file = file("[http]\n[log.targets]\n");
    assert_eq!(Settings::load(Some(file.path()), [], &[]).unwrap().settings, Settings::default());
}

#[test]
fn missing_file_error_names_the_path() {
    let error = Settings::load(Some(Path::new("/nowhere/arbiter.toml")), [], &[]).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the configuration file /nowhere/arbiter.toml");
}

#[test]
fn documented_defaults_equal_the_builtin_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/arbiter.default.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    let documented: BTreeMap<String, Value> = layers::flatten(&table).into_iter().collect();
    assert_eq!(documented, values_of(&Settings::default()));
    let mut above = "";
    for line in text.lines() {
        if line.contains('=') && !line.starts_with('#') {
            assert!(above.starts_with('#'), "no comment above {line}");
        }
        above = line;
    }
}
