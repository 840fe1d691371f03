//! `arbiter openapi`: the API's description.

use super::{failure::Failure, session::Session};

/// Prints the OpenAPI document of the server.
pub async fn run(session: &Session) -> Result<(), Failure> {
    let document = session.client.document(&["api", "openapi.json"]).await?;
    session.output.json(&document)
}
