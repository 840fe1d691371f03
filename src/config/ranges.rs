//! The range of every number, and what must fit together.
//!
//! Owns the bounds. A test holds the table complete: a number without a range is not accepted.

use super::{Authentication, ConfigProblem, Settings, Source, Temporal};
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use toml::Value;

const HOUR_MS: i64 = 60 * 60 * 1000;
const DAY_SEC: i64 = 24 * 60 * 60;
/// The longest name of a queue, in bytes.
const MAX_QUEUE_NAME_BYTES: usize = 200;

/// Dotted key, least and greatest value, both included.
const RANGES: &[(&str, i64, i64)] = &[
    ("http.max_conversation_bytes", 1024, 512 * 1024 * 1024),
    ("http.max_body_bytes", 1024, 64 * 1024 * 1024),
    ("http.max_import_bytes", 1024, 1024 * 1024 * 1024 * 1024),
    ("http.agent_bytes_per_day", 1024, 1024 * 1024 * 1024 * 1024),
    ("http.expensive_per_token", 1, 1_000),
    ("http.request_timeout_ms", 100, HOUR_MS),
    ("http.header_read_timeout_ms", 100, HOUR_MS),
    ("http.max_header_bytes", 8_192, 1024 * 1024),
    ("http.max_headers", 16, 1_000),
    ("http.max_secret_body_bytes", 1024, 64 * 1024 * 1024),
    ("http.body_idle_timeout_ms", 100, HOUR_MS),
    ("http.max_connections", 1, 1_000_000),
    ("http.connections_per_address", 1, 1_000_000),
    ("http.requests_per_sec", 1, 1_000_000),
    ("http.requests_burst", 1, 1_000_000),
    ("http.streams_per_token", 1, 1_000_000),
    ("http.session_ttl_sec", 60, 365 * DAY_SEC),
    ("http.max_streams", 0, 1_000_000),
    ("http.stream_keep_alive_ms", 100, HOUR_MS),
    ("http.stream_stall_ms", 100, HOUR_MS),
    ("store.group_commit_max", 1, 100_000),
    ("store.queue_max", 1, 1_000_000),
    ("store.readers", 1, 256),
    ("events.buffer", 1, 10_000_000),
    ("events.retention_days", 1, 36_500),
    ("events.retention_max", 1_000, 1_000_000_000_000),
    ("actors.threads", 1, 1_024),
    ("actors.mailbox", 1, 1_000_000),
    ("actors.idle_retire_ms", 10, 24 * HOUR_MS),
    ("actors.restart_limit", 0, 1_000),
    ("actors.restart_window_ms", 1, 24 * HOUR_MS),
    ("vault.kdf_iterations", 100_000, 10_000_000),
    ("vault.auto_lock_sec", 0, 365 * DAY_SEC),
    ("providers.heartbeat_interval_ms", 10, 24 * HOUR_MS),
    ("providers.heartbeat_timeout_ms", 10, HOUR_MS),
    ("providers.call_deadline_ms", 10, 24 * HOUR_MS),
    ("providers.retry_base_ms", 1, HOUR_MS),
    ("providers.retry_longest_ms", 1, HOUR_MS),
    ("providers.retry_budget_ms", 0, 24 * HOUR_MS),
    ("providers.idle_timeout_ms", 10, 24 * HOUR_MS),
    // A month's budget is summed up from it.
    ("providers.answer_tokens", 256, 1_000_000),
    ("providers.usage_retention_days", 32, 36_500),
    ("dispatch.max_parallel", 1, 100_000),
    ("dispatch.attempts_max", 1, 1_000),
    ("dispatch.backoff_base_ms", 1, HOUR_MS),
    ("dispatch.backoff_max_ms", 1, 24 * HOUR_MS),
    ("dispatch.lease_ttl_sec", 10, 3_600),
    ("dispatch.max_steps", 1, 1_000),
    ("dispatch.p0_decisions_per_project", 1, 10_000),
    ("bead_files.pause_ms", 10, HOUR_MS),
    ("decisions.timeout_sec", 1, 3_650 * DAY_SEC),
    ("temporal.retention_days", 1, 3_650),
    ("temporal.max_in_flight", 1, 256),
];

/// Checks the ranges of `values` and the rules between keys of `settings`; returns every problem.
pub fn check(
    settings: &Settings,
    values: &BTreeMap<String, Value>,
    sources: &BTreeMap<String, Source>,
) -> Vec<ConfigProblem> {
    let unfit = |key: &str, detail: String| ConfigProblem::Unfit {
        key: key.to_owned(),
        found_in: sources.get(key).cloned().unwrap_or(Source::Default),
        detail,
    };
    let mut found: Vec<ConfigProblem> = RANGES
        .iter()
        .filter_map(|&(key, least, greatest)| {
            let value = values.get(key)?.as_integer()?;
            (!(least..=greatest).contains(&value))
                .then(|| unfit(key, format!("{value} is not within {least} to {greatest}")))
        })
        .collect();
    let (listen, auth) = (settings.http.listen, settings.http.auth);
    if auth == Authentication::Off && !listen.ip().is_loopback() {
        found.push(unfit(
            "http.auth",
            format!("can be off on a loopback address only, and `http.listen` is {listen}"),
        ));
    }
    let http = &settings.http;
    let is_given = |path: &PathBuf| !path.as_os_str().is_empty();
    for (key, path, other, needed) in [
        ("http.tls_cert", &http.tls_cert, "http.tls_key", &http.tls_key),
        ("http.tls_key", &http.tls_key, "http.tls_cert", &http.tls_cert),
        ("http.tls_client_ca", &http.tls_client_ca, "http.tls_cert", &http.tls_cert),
    ] {
        if is_given(path) && !is_given(needed) {
            found.push(unfit(key, format!("needs `{other}` as well")));
        }
    }
    let notify = &settings.notify;
    let secrets = usize::from(is_given(&notify.secret_file)) + usize::from(!notify.key_id.is_empty());
    if !notify.url.is_empty() && secrets != 1 {
        found.push(unfit(
            "notify.url",
            "needs a secret to sign with: either `notify.secret_file` or `notify.key_id`".to_owned(),
        ));
    }
    let temporal = &settings.temporal;
    for (key, path, other, needed) in [
        ("temporal.tls_cert", &temporal.tls_cert, "temporal.tls_key", &temporal.tls_key),
        ("temporal.tls_key", &temporal.tls_key, "temporal.tls_cert", &temporal.tls_cert),
    ] {
        if is_given(path) && !is_given(needed) {
            found.push(unfit(key, format!("needs `{other}` as well")));
        }
    }
    if !temporal.ui_url.is_empty() && !is_web_page(&temporal.ui_url) {
        let detail = "must be a url that begins with http:// or https://, such as https://temporal.example";
        found.push(unfit("temporal.ui_url", detail.to_owned()));
    }
    for (kind, queue) in &temporal.queues {
        let key = format!("temporal.queues.{kind}");
        if !Temporal::default().queues.contains_key(kind) {
            found.push(unfit(&key, format!("no workflow has the type {kind}")));
        } else if queue.is_empty() || queue.len() > MAX_QUEUE_NAME_BYTES || *queue == temporal.providers_queue
        {
            found.push(unfit(
                &key,
                "is a name of at most 200 bytes, and not temporal.providers_queue".to_owned(),
            ));
        }
    }
    for host in &settings.http.allowed_hosts {
        if host.is_empty() || host.contains(['/', '*', ' ', '@']) {
            found.push(unfit(
                "http.allowed_hosts",
                format!("{host:?} is not a host name; write it without scheme, path or wildcard"),
            ));
        }
    }
    let roots = [
        ("bead_files.roots", &settings.bead_files.roots),
        ("providers.socket_roots", &settings.providers.socket_roots),
    ];
    for (key, roots) in roots {
        for root in roots.iter().filter(|root| !is_plain_path(root)) {
            let detail = format!("{} must be an absolute path without . and ..", root.display());
            found.push(unfit(key, detail));
        }
    }
    for origin in &settings.http.cors_origins {
        if !is_origin(origin) {
            found.push(unfit(
                "http.cors_origins",
                format!(
                    "{origin:?} is no origin; write it as https://board.example, without path or wildcard"
                ),
            ));
        }
    }
    if settings.dispatch.backoff_base_ms > settings.dispatch.backoff_max_ms {
        found.push(unfit(
            "dispatch.backoff_base_ms",
            format!(
                "{} is more than `dispatch.backoff_max_ms`, which is {}",
                settings.dispatch.backoff_base_ms, settings.dispatch.backoff_max_ms
            ),
        ));
    }
    found
}

/// Returns whether a text is the URL of a page, which has an origin.
fn is_web_page(text: &str) -> bool {
    let url = url::Url::parse(text).ok();
    url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// Returns whether a path is absolute and says where it leads without `.` and `..`.
fn is_plain_path(path: &Path) -> bool {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    path.is_absolute() && path.components().all(is_plain)
}

/// Returns whether a text is an origin as browsers send it: scheme, host and optional port.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '@', '?', '#']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::values_of;

    #[test]
    fn temporal_page_without_scheme_is_refused() {
        let problems = |ui_url: &str| {
            let mut settings = Settings::default();
            settings.temporal.ui_url = ui_url.to_owned();
            check(&settings, &values_of(&settings), &BTreeMap::new()).len()
        };
        for good in ["", "http://localhost:8233", "https://temporal.example/path"] {
            assert_eq!(problems(good), 0, "{good}");
        }
        // The origin of these is opaque: `null`, as of any sandboxed page.
        for bad in ["localhost:8233", "temporal.example", "/path", "file:///x", "data:text/html,x"] {
            assert_eq!(problems(bad), 1, "{bad}");
        }
    }

    #[test]
    fn number_setting_has_a_range_that_contains_its_default() {
        let values = values_of(&Settings::default());
        for (key, value) in &values {
            let Some(number) = value.as_integer() else {
                continue;
            };
            let range = RANGES.iter().find(|(known, ..)| known == key);
            let (_, least, greatest) = range.unwrap_or_else(|| panic!("{key} has no range"));
            assert!((least..=greatest).contains(&&number), "{key} = {number}");
        }
        for (key, ..) in RANGES {
            assert!(values.contains_key(*key), "{key} is no setting");
        }
    }
}
