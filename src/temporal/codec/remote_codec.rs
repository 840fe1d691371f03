//! Payloads in the JSON of Temporal's remote codec protocol: metadata by name and data, all in base64.

use crate::codec::{Codec, CodecError};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::BTreeMap;
use temporalio_common::protos::temporal::api::common::v1::Payload;

/// Payloads of one request.
pub struct Payloads(Vec<Payload>);

/// An error in the text of a payload.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RemoteCodecError(pub String);

impl Payloads {
    /// Reads payloads.
    ///
    /// # Errors
    /// [`RemoteCodecError`].
    pub fn read(
        given: impl Iterator<Item = (BTreeMap<String, String>, String)>,
    ) -> Result<Self, RemoteCodecError> {
        let bytes =
            |text: &str| STANDARD.decode(text).map_err(|_| RemoteCodecError("are in base64".to_owned()));
        given
            .map(|(metadata, data)| {
                let metadata = metadata.into_iter().map(|(name, value)| Ok((name, bytes(&value)?)));
                Ok(Payload {
                    metadata: metadata.collect::<Result<_, _>>()?,
                    data: bytes(&data)?,
                    ..Payload::default()
                })
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Converts the payloads to metadata and data in base64.
    pub fn into_base64(self) -> Vec<(BTreeMap<String, String>, String)> {
        let text = |bytes: &[u8]| STANDARD.encode(bytes);
        let write = |payload: Payload| {
            let metadata = payload.metadata.iter().map(|(name, value)| (name.clone(), text(value)));
            (metadata.collect(), text(&payload.data))
        };
        self.0.into_iter().map(write).collect()
    }

    /// Decrypts all payloads; one that cannot be decrypted stays as it is.
    #[must_use]
    pub fn decrypted(self, codec: &Codec) -> Self {
        Self(self.0.into_iter().map(|payload| codec.decrypt(payload)).collect())
    }

    /// Encrypts all payloads.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn encrypted(self, codec: &Codec) -> Result<Self, CodecError> {
        self.0.into_iter().map(|payload| codec.encrypt(payload)).collect::<Result<_, _>>().map(Self)
    }
}
