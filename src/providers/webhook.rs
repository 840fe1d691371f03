//! One receiver of notices: posts signed JSON to one URL, within the same bounds as calls to providers.
//!
//! Owns the connection and the signature. Must not retry or keep the secret: its caller does. The headers are those
//! of standardwebhooks.com, so that receivers find libraries that check them.

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

/// How long a receiver may take for everything.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept open.
const IDLE_CONNECTION: Duration = Duration::from_secs(60);
/// What stands before a secret that is written in base64.
const SECRET_PREFIX: &str = "whsec_";

/// Why a notice did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Nobody answered, or not in time, or the address may not be gone to.
    #[error("no answer: {0}")]
    Unanswered(String),
    #[error("the receiver answered {0}")]
    Status(u16),
}

/// A notice to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    pub id: &'a str,
    /// When it is sent, in seconds since the epoch.
    pub sent_at_sec: i64,
    /// What it says, in JSON.
    pub body: &'a str,
}

/// A receiver; clones share its connections.
#[derive(Clone, Debug)]
pub struct Webhook {
    endpoint: Endpoint,
    http: reqwest::Client,
}

impl Webhook {
    /// Checks where the receiver is.
    ///
    /// # Errors
    /// [`EndpointError`] tells which rule the text breaks.
    pub fn check(url: &str, policy: EndpointPolicy) -> Result<Endpoint, EndpointError> {
        Endpoint::parse_exact(url, policy)
    }

    /// A receiver that is reached at its URL and nowhere else: no redirect is followed and no proxy asked.
    ///
    /// # Errors
    /// [`WebhookError::Unanswered`] when this machine has no root certificates to check an `https` URL with.
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

    /// The host it is on.
    pub fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Posts a notice, signed; done when the receiver has answered with a success.
    ///
    /// # Errors
    /// [`WebhookError`]; the notice may have arrived nevertheless.
    pub async fn send(&self, secret: &SecretString, notice: Notice<'_>) -> Result<(), WebhookError> {
        let request = self
            .http
            .post(self.endpoint.url())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", notice.id)
            .header("webhook-timestamp", notice.sent_at_sec.to_string())
            .header("webhook-signature", signature(secret, notice))
            .body(notice.body.to_owned());
        // The answer's body is nobody's business, and is not read.
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

/// `v1,` and the HMAC-SHA256 of id, time and body in base64.
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

    /// The example of the standard's own documents.
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
