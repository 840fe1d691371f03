//! A webhook receiver: posts signed JSON to one URL, within the same bounds as calls to providers.
//!
//! Owns the connection and the signature. Must not retry or keep the secret: its caller does. The headers
//! follow standardwebhooks.com, so that receivers can verify them with existing libraries.

use crate::endpoint::{Endpoint, EndpointError, EndpointPolicy};
use crate::install_tls;
use crate::redact::sanitize;
use crate::resolver::{GuardedResolver, system_lookup};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::CONTENT_TYPE;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of a whole request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for which an unused connection stays open.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// Prefix of a secret in base64.
const SECRET_PREFIX: &str = "whsec_";

/// Reason why a notice did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The receiver did not answer in time, or its address is forbidden.
    #[error("no answer: {0}")]
    Unanswered(String),
    #[error("the receiver answered {0}")]
    Status(u16),
}

/// A notice to send.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    pub id: &'a str,
    /// Send time, in seconds since the epoch.
    pub sent_at_sec: i64,
    /// JSON text of the notice.
    pub body: &'a str,
}

/// A receiver; clones share its connections.
#[derive(Clone, Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    http: reqwest::Client,
}

impl Webhook {
    /// Checks the receiver's URL.
    ///
    /// # Errors
    /// [`EndpointError`] names the violated rule.
    pub fn check(url: &str, policy: EndpointPolicy) -> Result<Endpoint, EndpointError> {
        Endpoint::parse_exact(url, policy)
    }

    /// Creates a receiver for one URL: it follows no redirect and uses no proxy.
    ///
    /// # Errors
    /// [`WebhookError::Unanswered`] if this machine has no root certificates to verify an `https` URL.
    pub fn new(endpoint: Endpoint) -> Result<Self, WebhookError> {
        install_tls();
        let mut builder = reqwest::Client::builder()
            .user_agent("webhook")
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .referer(false)
            .timeout(REQUEST_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION)
            .dns_resolver(Arc::new(GuardedResolver::new(endpoint.rule(), system_lookup)));
        if !endpoint.is_encrypted() {
            builder = builder.tls_certs_only([]);
        }
        let http = builder.build().map_err(|error| transport_error(&error))?;
        Ok(Self { endpoint, http })
    }

    /// Returns the receiver's host.
    pub fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Posts a signed notice; completes when the receiver has answered with success.
    ///
    /// # Errors
    /// [`WebhookError`]; the notice may still have arrived.
    pub async fn send(&self, secret: &SecretString, notice: Notice<'_>) -> Result<(), WebhookError> {
        let request = self
            .http
            .post(self.endpoint.url())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", notice.id)
            .header("webhook-timestamp", notice.sent_at_sec.to_string())
            .header("webhook-signature", signature(secret, notice))
            .body(notice.body.to_owned());
        // The body of the answer is not read.
        let answer = request.send().await.map_err(|error| transport_error(&error.without_url()))?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(WebhookError::Status(answer.status().as_u16()))
        }
    }
}

fn transport_error(error: &reqwest::Error) -> WebhookError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    WebhookError::Unanswered(sanitize(&text, None))
}

/// Returns `v1,` and the HMAC-SHA256 of id, time and body in base64.
fn signature(secret: &SecretString, notice: Notice<'_>) -> String {
    let text = secret.expose_secret().trim();
    let decoded = text.strip_prefix(SECRET_PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
    let bytes = Zeroizing::new(decoded.unwrap_or_else(|| text.as_bytes().to_vec()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
    let signed = format!("{}.{}.{}", notice.id, notice.sent_at_sec, notice.body);
    format!("v1,{}", STANDARD.encode(hmac::sign(&key, signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example of the Standard Webhooks specification.
    #[test]
    fn webhook_signature_follows_the_standard() {
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let notice = Notice {
            id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
            sent_at_sec: 1_614_265_330,
            body: r#"{"test": 2432232314}"#,
        };
        assert_eq!(signature(&secret, notice), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn webhook_url_is_used_as_given_and_not_a_metadata_service() {
        let policy = EndpointPolicy::default();
        let plain = Webhook::check("http://127.0.0.1:9", policy).unwrap();
        assert_eq!(plain.url().as_str(), "http://127.0.0.1:9/");
        let parse_exact = Webhook::check("https://hooks.example/a/?b=c", policy).unwrap();
        assert_eq!(parse_exact.url().as_str(), "https://hooks.example/a/?b=c");
        for wrong in ["http://169.254.169.254/", "http://1.1.1.1/", "/run/x.sock", "https://u:p@h.example/"] {
            assert!(Webhook::check(wrong, policy).is_err(), "{wrong}");
        }
    }
}
